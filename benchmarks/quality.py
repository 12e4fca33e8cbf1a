"""Backtest: backfill weekly as-of days and judge each on the days that came after it.

    .venv/bin/python -m benchmarks.quality                 # the generator's data, online_retail, movielens
    .venv/bin/python -m benchmarks.quality --only sample

Partition D of every asset is what was known at the end of D, so a backfill is a backtest: candidates, ranker and
recommendations of D are judged on the target events of (D, D+h], which none of them has seen. Each (user, day) is one
observation; intervals are 95 % percentile bootstraps that resample users. Writes its tables into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa

from benchmarks.report import write_section
from recsys_assets.core import contracts
from recsys_assets.core.contracts import arrow_schema
from recsys_assets.core.evaluation.backtest import Observations, observe
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.materialize import Materializer
from recsys_assets.progress import Progress
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import load_settings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
WEEKS = 8
