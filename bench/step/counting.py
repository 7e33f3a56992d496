"""What a micro-batch gives the model to do: tokens, predicted rows, counted operations."""

from ecamp_fast.batch import Batch
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.flops import step_work, summed


def predicted_rows(batch: Batch) -> int:
    """Rows of all texts where a word is predicted, filler left out; waits for the device."""
    return int(batch.text.weights.count_nonzero()) if batch.text else 0


def sample_work(model: Ecamp, batch: Batch) -> dict[str, float]:
    """``tokens``, ``predicted`` rows and ``flops_per_sample`` of one sample of the batch, on average."""
    predicted, lengths, count = predicted_rows(batch), batch.lengths.tolist(), len(batch)
    flops = summed(step_work(model.recipe, model.vocab_size, lengths, predicted)).total
    return {"tokens": sum(lengths) / count, "predicted": predicted / count, "flops_per_sample": flops / count}
