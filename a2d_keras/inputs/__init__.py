"""Inputs: the forms that they come in, the values that they may have, and batches of them."""

from a2d_keras.inputs.batching import Checked as Checked
from a2d_keras.inputs.batching import batches as batches
from a2d_keras.inputs.batching import every_other as every_other
from a2d_keras.inputs.batching import first as first
from a2d_keras.inputs.batching import to_dataset as to_dataset
from a2d_keras.inputs.forms import as_inputs as as_inputs
from a2d_keras.inputs.forms import count as count
from a2d_keras.inputs.forms import is_dataset as is_dataset
from a2d_keras.inputs.forms import readable as readable
from a2d_keras.inputs.forms import remember_count as remember_count
from a2d_keras.inputs.forms import require_dataset as require_dataset
from a2d_keras.inputs.values import checked as checked
from a2d_keras.inputs.values import clip as clip
from a2d_keras.inputs.values import require_valid as require_valid
from a2d_keras.inputs.values import validate as validate
from a2d_keras.inputs.values import validity as validity
