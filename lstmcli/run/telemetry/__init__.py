"""What a run tells while it trains: console, metrics.jsonl, TensorBoard, gate statistics."""
