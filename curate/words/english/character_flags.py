"""Give the class of each character of Unicode in spaCy's rules for English: letter, quote, symbol, mark and so on.

In: code points. Out: one bit a property, from a table that is made once.

The classes are those of ``spacy/lang/char_classes.py`` as of version 3.8: its blocks of letters, and the symbols that
Unicode 11 had. spaCy has the MIT licence (`LICENSE-spaCy.txt`), Copyright (C) 2016-2024 ExplosionAI GmbH, 2016 spaCy
GmbH, 2015 Matthew Honnibal. The marks that do not count as words are those of datatrove 0.10, which has the Apache
licence 2.0, as this project does.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import category

import numpy as np

from curate.words.utf8 import POINTS, looked_up

# One bit a property.
SPACE, LETTER, LOWER, UPPER, DIGIT, QUOTE, AFFIX, SYMBOL = (1 << i for i in range(8))
BEFORE_PERIOD, UNIT_END, SIGN, COMPARISON, HYPHEN, NOT_MARK, ALPHABETIC, PREFIX = (1 << i for i in range(8, 16))

# Blocks without capital letters, where every character counts as a letter, and as a small and a capital one.
UNCASED = """591-5F4 620-64A 66E-6D5 6E5-6FF 750-77F 8A0-8BD 900-9FF B80-CFF D80-DFF 1100-137F 2E80-2FDF 2FF0-30FF
31C0-31EF 3200-4DBF 4E00-9FFF AC00-D7AF F900-FAFF FB1D-FBB1 FBD3-FD3D FD50-FDC7 FDF0-FDFB FE30-FE4F FE70-FEFC
1EE00-1EEBB 1F200-1F2FF 20000-2A6DF 2A700-2EBEF 2F800-2FA1F"""
# Blocks with capital letters: Latin, Greek, Cyrillic.
CASED = """41-5A 61-7A C0-D6 D8-F6 F8-1BF 1C4-2AF 386 388-38A 38C 38E-38F 391-3A9 3AC-3AF 3B1-3C9 3CC-3CE 400-401
403-40A 40C-40D 410-451 453-45A 45C-45D 490-491 496-497 4A2-4A3 4AE-4AF 4BA-4BB 4D8-4D9 4E8-4E9 1D00-1D25 1D6B-1D77
1D79-1D9A 1E00-1EFF 2C60-2C7B 2C7E-2C7F A722-A76F A771-A787 A78B-A78E A790-A7B9 A7FA AB30-AB5A AB60-AB64 FF21-FF3A
FF41-FF5A"""
# The symbols (category So) that Unicode 11 has lie in these blocks. Later versions of Unicode add none to them.
SYMBOLS = """A6-B0 482 58D-58E 60E-6FE 7F6 9FA B70 BF3-BFA C7F D4F D79 F01-F38 FBE-FCC FCE-FD8 109E-109F 1390-1399
1940 19DE-19FF 1B61-1B7C 2100-218B 2195-2426 2440-244A 249C-2B73 2B76-2B95 2B98-2BC8 2BCA-2BFE 2CE5-2CEA 2E80-2E99
2E9B-2EF3 2F00-2FD5 2FF0-2FFB 3004-303F 3190-31E3 3200-321E 322A-32FE 3300-4DFF A490-A4C6 A828-A82B A836-A839
AA77-AA79 FDFD FFE4 FFE8-FFEE FFFC-FFFD 10137-1018E 10190-1019B 101A0 101D0-101FC 10877-10878 10AC8 1173F
16B3C-16B45 1BC9C 1D000-1D0F5 1D100-1D126 1D129-1D1E8 1D200-1D245 1D300-1D356 1D800-1DA86 1ECAC 1F000-1F02B
1F030-1F093 1F0A0-1F0AE 1F0B1-1F0BF 1F0C1-1F0CF 1F0D1-1F0F5 1F110-1F16B 1F170-1F1AC 1F1E6-1F202 1F210-1F23B
1F240-1F248 1F250-1F251 1F260-1F265 1F300-1F6D4 1F6E0-1F6EC 1F6F0-1F6F9 1F700-1F773 1F780-1F7D8 1F800-1F80B
1F810-1F847 1F850-1F859 1F860-1F887 1F890-1F8AD 1F900-1F90B 1F910-1F93E 1F940-1F970 1F973-1F976 1F97A 1F97C-1F9A2
1F9B0-1F9B9 1F9C0-1F9C2 1F9D0-1F9FF 1FA60-1FA6D"""
PUNCTUATION = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧"
CURRENCIES = "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"
DOLLARS = ("US$", "C$", "A$")
UNITS = """km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph
hPa Pa mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² мм³ нм кг г мг м/с км/ч
кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ كم غرام جرام جم كغ ملغ كوب
اكواب""".split()
HYPHENS = "-–—~"
# Marks that end a sentence, in many scripts: Unicode's property Sentence_Terminal, as datatrove lists them.
TERMINALS = """21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736
17D4-17D6 17D9-17DA 1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D
2047-2049 2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1
ABEB FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143
111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642
1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38
16B44 16E98 1BC9F 1DA88"""
# Of these, spaCy's sentencizer does not know the Samaritan and Khmer ones and those that Unicode added late.
UNKNOWN_TO_SENTENCES = """61D-61E 837-83E 17D4-17DA 1B7D-1B7E 2E53-2E54 10F55-10F89 11944-11946 11EF7-11F44 16E98"""
# A word that consists of these marks alone does not count; datatrove adds TERMINALS and control characters.
MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«´»–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～"
CONTROLS = "0-8 B-1F 7F-9F"


def points(blocks: str) -> np.ndarray:
    """Return the code points of blocks that are written as hexadecimal ranges."""
    ends = [block.partition("-") for block in blocks.split()]
    return np.concatenate([np.arange(int(first, 16), int(last or first, 16) + 1) for first, _, last in ends])


def points_of(characters: Iterable[str]) -> np.ndarray:
    """Return the code points of single characters."""
    return np.array([ord(character) for character in characters])


def regex_class(flag: int) -> str:
    """Return the characters with a property as the inside of a class of a regular expression."""
    chosen = np.flatnonzero(table() & flag)
    edges = np.flatnonzero(np.diff(chosen) != 1)
    firsts, lasts = chosen[np.append(0, edges + 1)], chosen[np.append(edges, len(chosen) - 1)]
    pairs = zip(firsts.tolist(), lasts.tolist(), strict=True)
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in pairs)


@lru_cache(maxsize=1)
def punctuation() -> np.ndarray:
    """Return which code points are punctuation (categories P), (1114112,) bool."""
    result = np.zeros(POINTS, bool)
    result[[point for point in looked_up().tolist() if category(chr(point))[0] == "P"]] = True
    return result


@lru_cache(maxsize=1)
def table() -> np.ndarray:
    """Return the properties of each code point, (1114112,) uint16; it takes 0.1 s to make."""
    flags = np.zeros(POINTS, np.uint16)
    # Above these lie no letters that Python knows, and no spaces.
    everywhere = [*range(0x32400), *range(0xE0000, 0xE0200)]
    characters = [chr(point) for point in everywhere]
    flags[[point for point, name in zip(everywhere, characters, strict=True) if name.isalpha()]] |= ALPHABETIC
    flags[[point for point in range(0x3001) if chr(point).isspace()]] |= SPACE
    flags[points(UNCASED)] |= LETTER | LOWER | UPPER
    cased = points(CASED)
    flags[cased] |= LETTER
    names = np.array([category(chr(point)) for point in cased.tolist()])
    # spaCy counts a phonetic letter among the small ones, and an unused place of Greek among the capital ones.
    flags[cased[(names == "Ll") | (cased == 0x294)]] |= LOWER
    flags[cased[(names == "Lu") | (cased == 0x3A2)]] |= UPPER
    flags[points_of("0123456789")] |= DIGIT
    flags[points_of(QUOTES)] |= QUOTE
    symbols = points(SYMBOLS)
    flags[[point for point in symbols.tolist() if category(chr(point)) == "So"]] |= SYMBOL
    flags[flags & SYMBOL > 0] |= AFFIX
    flags[points_of(PUNCTUATION + QUOTES + "—–")] |= AFFIX
    flags[flags & AFFIX > 0] |= PREFIX
    flags[points_of("§%=+" + CURRENCIES)] |= PREFIX
    flags[flags & (LOWER | DIGIT) > 0] |= BEFORE_PERIOD
    flags[points_of("%²-+|:" + PUNCTUATION + QUOTES)] |= BEFORE_PERIOD
    flags[points_of({unit[-1] for unit in UNITS} | set(CURRENCIES) | {"+"})] |= UNIT_END
    flags[points_of("+-*^")] |= SIGN
    flags[points_of(":<>=/")] |= COMPARISON
    flags[points_of(HYPHENS)] |= HYPHEN
    marks = np.zeros(POINTS, bool)
    marks[points_of(MARKS)] = marks[points(TERMINALS)] = marks[points(CONTROLS)] = True
    flags[~marks] |= NOT_MARK
    return flags
