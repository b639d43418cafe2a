"""Time series: a table (CSV or Parquet) becomes regular series in arrays, and windows over them.

The way of the data, one module each:

    scan.py        the bytes of a file: packing, encoding, separator, header; is it a whole table?
    numbers.py     all columns of a CSV -> the one way in which its numbers are written
    table.py       files -> a frame; what a file can be wrong about, with its row and column
    roles.py       settings + column names -> what each column is (time, group, target, ...)
    times.py       text, numbers or several columns -> one time per row
    grid.py        times -> the step between them; step + origin -> TimeGrid: tick k <-> a time
    layouts.py     long, wide, rows -> Stack: the series one after the other, on the grid, gaps as NaN
    covariates.py  scaling and one-hot codes, fitted on the training part and kept
    splits.py      where training, validation and test end in each series
    panel.py       all of it in order: `prepare_series`, `read_series`
    windows.py     panel -> windows by arithmetic, and batches as a pure function of the step
    propose.py     a table nobody has described -> what its columns seem to be (`lstm init`)

Rules
- Rows in messages count from 1, the header's row included (a record that holds line breaks is one
  row); a Parquet file has no header, its first row is row 1. Blank lines of a CSV are skipped.
- A CSV is read as it is where it is UTF-8 with line feeds; else it is made so in memory, with a notice. Its
  fields are between the mark that divides all of the first lines alike.
- Numbers are written in one way in the whole table. Where all of them allow two, a comma between fields is
  no decimal comma and a semicolon speaks for one; else the table is refused (numbers.py).
- A column is of numbers if at least 90 % of what is not missing in the first 10,000 rows is; any text
  further down in it is an error. Infinities are errors; missing values and NaN are NaN.
- Times are ISO dates and timestamps with `-`, `/` or `.` in the date, year first. An offset or `Z`
  makes UTC; times without one are taken as they stand, so there is no daylight saving. Whole numbers
  are whole numbers, except eight digits that are all dates (20160701), and years where the frequency
  is of months, quarters or years.
- Rows need not be sorted. Two rows of a series with one time are an error.
- The frequency is the commonest step between neighbours (in months where all times share a day of the
  month or all end their month); at least half of all steps must be it and every other one a
  multiple of it. `data.frequency` overrules the first of these, not the second. Steps left out (gaps)
  are filled as missing.
- The splits of a series are counted up to its last observed target; rows behind it (future values of
  `known` columns) belong to no split.
- Without `val_length` and `test_length`, `splits` are shares of each series (rounded down, except that
  shares that add up to 1 use every step) or counts of steps. With `test_path` the rows of that table
  are the test, and the first two of `splits` divide those of `path` as their proportion.
"""
