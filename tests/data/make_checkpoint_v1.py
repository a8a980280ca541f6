"""How checkpoint_v1.safetensors was made: by cellsearch 0.1 with torch.optim.AdamW, before the
optimizer worked on one flat buffer.

Here so that one can see what the file holds; run today, it writes what today's version writes.
tests/training/test_fused.py holds the scores that that version went on to.
"""

from __future__ import annotations

import sys

from cellsearch import tasks, zoo
from cellsearch.job import Job, Training
from cellsearch.training import evaluate

if __name__ == "__main__":
    training = Training(
        steps=12,
        hidden_size=4,
        learning_rate=1e-2,
        evaluations=3,
        dtype="float64",
        weight_decay=0.01,
    )
    job = Job(
        trial=0,
        rung=0,
        genome=zoo.load("gru").to_json(),
        task="char_lm",
        task_options={"valid_tokens": 256, "tbptt": 4, "batch_size": 4},
        training=training,
        steps=5,
        seed=1,
        checkpoint=sys.argv[1],
    )
    evaluate(job, tasks.get(job.task).load(job.task_options))
