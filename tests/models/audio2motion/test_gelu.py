"""The bend of our nets against torch's."""

import numpy as np
import pytest

from splatface.models.audio2motion.audio_to_mouth import gelu

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_it_is_torchs_and_keeps_its_precision(kind):
    x = np.linspace(-6, 6, 241).astype(kind)
    found = gelu(x)
    assert found.dtype == kind
    wanted = torch.nn.functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6 if kind == np.float32 else 1e-12)
