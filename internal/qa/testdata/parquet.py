"""Writes hub.parquet: rows as the hub keeps them, by pyarrow (pip install pyarrow)."""
import pyarrow as pa
import pyarrow.parquet as pq

rows = [
    {"id": "Q1", "question": "Which is a fruit?", "choices": {"text": ["stone", "pear", "rope"], "label": ["A", "B", "C"]}, "answerKey": "B", "label": 1, "fits": True, "score": 0.5, "note": None},
    {"id": "Q2", "question": "Which flies?", "choices": {"text": ["hen house", "gull", "mole", "eel"], "label": ["1", "2", "3", "4"]}, "answerKey": "2", "label": 1, "fits": False, "score": 1.0, "note": "été"},
    {"id": "Q3", "question": "Which is cold?", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "A", "label": 0, "fits": True, "score": 2.0, "note": ""},
]
schema = pa.schema([
    ("id", pa.string()), ("question", pa.string()),
    ("choices", pa.struct([("text", pa.list_(pa.string())), ("label", pa.list_(pa.string()))])),
    ("answerKey", pa.string()), ("label", pa.int64()), ("fits", pa.bool_()), ("score", pa.float64()), ("note", pa.string()),
])
pq.write_table(pa.Table.from_pylist(rows, schema), "hub.parquet", row_group_size=2, compression="snappy")
