"""A ranker as an MLflow model from code: MLflow runs this module when it loads one. Nothing is pickled.

See https://mlflow.org/docs/latest/ml/model/models-from-code.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from recsys_assets.core.ranking.formats import read_model


class StoredRanker(PythonModel):
    """Scores candidates as the release does."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the stored model."""
        self.model = read_model(Path(context.artifacts["ranker"]).read_bytes())

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> Any:
        """Scores [rows] of a frame with the columns of the signature; missing values are NaN."""
        return self.model.score(model_input[list(self.model.columns)].to_numpy(dtype=np.float32))


set_model(StoredRanker())
