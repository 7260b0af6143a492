"""Images as vectors: the values of their pixels, for small images of one size (digits, Fashion-MNIST, tiles).

In: images as bytes or lists of numbers. Out: vectors of numbers in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError

# the first bytes of image files that have to be decoded
CODED = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP", b"BM": "BMP"}


@dataclass(frozen=True)
class Pixels:
    """The pixels of an image, each in [0, 1], in the order in which they lie in the column ``image``.

    An image is a binary value of ``width`` bytes, or a list of ``width`` numbers of 0 to 255. Files such as PNG and
    JPEG have to be decoded first.

    Options:
        width: numbers of an image, height x width x channels (default 784, as for 28 x 28 grey pixels).
    """

    width: int = 784
    column = "image"

    def encode(self, texts: Sequence[str] | Sequence[bytes] | Sequence[Sequence[float]]) -> np.ndarray:
        """Return (n, width) float32 vectors of images."""
        result = np.zeros((len(texts), self.width), np.float32)
        for i, image in enumerate(texts):
            if image is None:
                raise SchemaError(f"image {i} of a batch is null. Leave out rows without an image")
            values = np.frombuffer(image, np.uint8) if isinstance(image, bytes) else np.asarray(image, np.float32)
            if values.shape != (self.width,):
                raise SchemaError(self._wrong_size(image, len(values)))
            result[i] = values / np.float32(255)
        return result

    def _wrong_size(self, image: object, size: int) -> str:
        head = image[:4] if isinstance(image, bytes) else b""
        if kind := next((name for mark, name in CODED.items() if head.startswith(mark)), None):
            return f"an image is a {kind} file. Decode it to {self.width} bytes of pixels first"
        return f"an image has {size} pixels, not {self.width}. Make all images alike, or give width={size}"
