# ruff: noqa: RUF001 - letters and signs of many scripts are what this file is about.
"""What a file is that is no UTF-8 text: its compression or encoding, recognised by name.

Nothing is read by a guess: whoever reads a file names what it seems to be, and the person states it
(`data.encoding`). What is certain (a magic number, a byte order mark) comes first; then the share of what
a text has in common with texts of an encoding's languages. An encoding that fits no better than that is
not named at all: bytes that any single-byte encoding accepts say nothing by being accepted.
"""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass

SAMPLE_BYTES = 1 << 16
"""What is looked at, around the place where UTF-8 fails and from the beginning of the file."""

COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip -k"),
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ\0": ("xz", "unxz -k"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
    b"PK\x03\x04": ("zip (a .zip archive, .docx, .odt or .epub)", "unzip"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z x"),
    b"Rar!\x1a\x07": ("RAR", "unrar x"),
    b"\x1f\x9d": ("compress (.Z)", "uncompress"),
    b"%PDF-": ("PDF", "pdftotext"),
}
"""How such a file begins, what it is, and the command that gives the text."""

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"\x84\x31\x95\x33": "gb18030",
}
"""Byte order marks, those that begin with another one first."""

WESTERN = "àâäáãåæçèéêëîïíìôöóòõøœùûüúñßÀÂÄÁÅÆÇÉÈÊÎÖÓØŒÜÚÑ‘’“”„–—…«»¿¡°€£§·\xa0\N{DEGREE SIGN}"
CYRILLIC = "аеиоутнсрвлкмдпязбыьгчйхжшюцщфэ" + "іїєґў—«»№"
LETTERS = {
    "latin-1": WESTERN,
    "cp1252": WESTERN,
    "cp1250": "ąćęłńóśźżáčďéěíňřšťúůýžäöüőűßâăîşţđŁŚŻČŘŠŽÁÉÍÓÖÜ„”“’–—…\xa0",
    "iso8859_2": "ąćęłńóśźżáčďéěíňřšťúůýžäöüőűßâăîşţđŁŚŻČŘŠŽÁÉÍÓÖÜ\xa0",
    "mac_roman": WESTERN,
    "cp850": WESTERN,
    "cp1251": CYRILLIC,
    "koi8_r": CYRILLIC,
    "cp866": CYRILLIC,
    "iso8859_5": CYRILLIC,
    "mac_cyrillic": CYRILLIC,
    "cp1253": "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώ",
    "cp1254": "çğıöşüâîûÇĞİÖŞÜ’“”–…",
    "cp1255": "אבגדהוזחטיכלמנסעפצקרשתםןץףך",
    "cp1256": "ابتثجحخدذرزسشصضطظعغفقكلمنهويةىأإآؤئ،",
    "cp874": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศสหอฮะาำเแโใไๆ" + "ัิีึืุู็่้๊๋์",
}
"""Encodings of one byte a character, and what is frequent beyond ASCII where they are used."""

ENOUGH = 0.85  # of what lies beyond ASCII is as it is in texts of the encoding's languages
COMMON_HANZI = range(0xB0, 0xD8)  # first bytes of the frequent rows of GB 2312, as in EUC
COMMON_HANJA = range(0xB0, 0xC9)  # Hangul, in KS X 1001
COMMON_KANJI = range(0xB0, 0xD0)  # of JIS X 0208
COMMON_BIG5 = range(0xA4, 0xC7)


@dataclass(frozen=True)
class Likeness:
    """What a file seems to be."""

    encoding: str  # as Python's codecs name it
    beginning: str  # what it would say, so that a person can judge


def compression(raw: bytes) -> tuple[str, str] | None:
    """The name of what packs a file that begins with `raw`, and the command that unpacks it."""
    found = next((said for magic, said in COMPRESSED.items() if raw.startswith(magic)), None)
    return None if found and found[0] == "bzip2" and raw[4:10] != b"1AY&SY" else found


def recognise(raw: bytes) -> Likeness | None:
    """The encoding that a part of a text seems to have, the part beginning where a character does."""
    for mark, name in MARKS.items():
        if raw.startswith(mark):
            return _seen(raw, name)
    if b"\0" in raw or not any(byte >= 0x80 for byte in raw):
        return _wide(raw)
    if many := _many_bytes(raw):
        return _seen(raw, many)
    one = None if (wide := _wide(raw)) else _one_byte(raw)
    return _seen(raw, one) if one else wide


def damaged_utf8(raw: bytes) -> bool:
    """Whether it is UTF-8 but for a few bytes: a damaged or cut text, not one of another encoding."""
    wrong = raw.decode("utf-8", "replace").count("\N{REPLACEMENT CHARACTER}")
    whole = sum(1 for character in raw.decode("utf-8", "ignore") if character > "\x7f")
    return whole > 20 * wrong or (whole > 0 and _cut(raw))


def _cut(raw: bytes) -> bool:
    """Whether only the last character is not whole."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw)
    except UnicodeDecodeError:
        return False
    return True


def _seen(raw: bytes, encoding: str) -> Likeness | None:
    text = _decoded(raw, encoding)
    return None if text is None else Likeness(encoding, text.lstrip("\ufeff")[:24])


def _decoded(raw: bytes, encoding: str) -> str | None:
    """The text, the last character left out if it is cut; None: not of this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(raw)
    except UnicodeDecodeError:
        return None


def _wide(raw: bytes) -> Likeness | None:
    """UTF-16 or UTF-32 without a mark: one script, its spaces and line ends, no controls."""
    fitting = []
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = _decoded(raw, name)
        if text and (share := _plausible(text)) > 0.97:
            fitting.append((share, name))
    return _seen(raw, max(fitting)[1]) if fitting else None


def _plausible(text: str) -> float:
    """The share of characters that a text may hold, if it has a space or line end at all. Of wide
    characters half belong to one block of 4,096 or are ideographs, Hangul or kana."""
    allowed = sum(1 for c in text if c in "\t\n\r\ufeff" or unicodedata.category(c)[0] in "LMNPSZ")
    beyond = [c for c in text if c > "\u024f"]
    if beyond and not any(c in text for c in " \n\r\u3000\u3002\u3001"):
        return 0.0
    scripts = [_script(c) for c in beyond]
    most = max(map(scripts.count, set(scripts)), default=0)
    return 0.0 if most < 0.8 * len(beyond) else allowed / len(text)


def _script(character: str) -> str:
    """The script by the beginning of the character's name; the writing systems of East Asia are one."""
    word = unicodedata.name(character, "UNNAMED ").split(" ")[0]
    east = word.startswith(("CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH", "HANGUL"))
    return "EAST" if east else word


def _many_bytes(raw: bytes) -> str | None:
    """The encoding of an East Asian text: by Hangul alone, by kana, then by frequent characters."""
    korean = _share(raw, "cp949", "euc_kr", COMMON_HANJA)
    if korean > 0.95 and any(c in raw for c in b" \n"):
        return "euc_kr" if _decoded(raw, "euc_kr") is not None else "cp949"
    for name in ("cp932", "euc_jp"):
        text = _decoded(raw, name) or ""
        kana = sum(1 for c in text if "\u3041" <= c <= "\u30ff")
        beyond = sum(1 for c in text if c > "\x7f")
        if kana > 0.15 * beyond and _share(raw, name, "euc_jp", COMMON_KANJI) > ENOUGH:
            return "shift_jis" if name == "cp932" and _decoded(raw, "shift_jis") is not None else name
    chinese = {
        "gb18030": _share(raw, "gb18030", "gb2312", COMMON_HANZI),
        "big5": _share(raw, "cp950", "big5", COMMON_BIG5),
    }
    best = max(chinese, key=lambda name: chinese[name])
    return best if chinese[best] > ENOUGH else None


def _share(raw: bytes, encoding: str, reference: str, common: range) -> float:
    """How much beyond ASCII is frequent: punctuation, kana, or in the rows `common` of `reference`."""
    text = _decoded(raw, encoding)
    beyond = [c for c in text or "" if c > "\x7f"]
    firsts = [c.encode(reference, "ignore")[:1] for c in beyond]
    known = sum(
        1
        for c, first in zip(beyond, firsts, strict=True)
        if (first and first[0] in common) or "\u3000" <= c <= "\u30ff" or "\uff01" <= c <= "\uff5e"
    )
    return known / len(beyond) if beyond else 0.0


def _one_byte(raw: bytes) -> str | None:
    shares = {name: _frequent(raw, name) for name in LETTERS}
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] > ENOUGH else None


def _frequent(raw: bytes, encoding: str) -> float:
    """The share beyond ASCII that is frequent and stands where it may."""
    text = _decoded(raw, encoding) or ""
    letters = LETTERS[encoding]
    allowed = set(letters + letters.upper()) if letters is CYRILLIC or encoding == "cp1253" else set(letters)
    beyond = [k for k, character in enumerate(text) if character > "\x7f"]
    fitting = sum(1 for k in beyond if text[k] in allowed and _fits(text, k))
    return fitting / len(beyond) if beyond else 0.0


def _fits(text: str, k: int) -> bool:
    """Whether the character is no capital within a word, no sign between two letters, and no letter of
    another alphabet than those beside it."""
    before, here, after = text[k - 1 : k], text[k], text[k + 1 : k + 2]
    if not here.isalpha():
        joins = here in "’·" or unicodedata.category(here).startswith("M")
        return joins or not (before.isalpha() and after.isalpha())
    if here.isupper() and before.isalpha():
        return False
    beside = [c for c in (before, after) if c.isalpha()]
    return all((c < "\u0250") == (here < "\u0250") for c in beside)
