"""The rows that a scorer learns from, as parts on which functions run where the data is.

In: parts of the rows, cut by the data alone, and an engine. Out: the results of the parts, in order.
May use: the files of `tables` and lower rooms.
"""

from curate.tables.corpus.array_files import Arrays
from curate.tables.corpus.corpus import Answers, Corpus, CorpusPart, PartRows
from curate.tables.corpus.parts import FilePart, FramePart

__all__ = ["Answers", "Arrays", "Corpus", "FilePart", "FramePart", "CorpusPart", "PartRows"]
