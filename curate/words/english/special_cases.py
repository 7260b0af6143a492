"""List the forms that spaCy's tokenizer for English always splits in one way: abbreviations, contractions, smileys.

In: nothing. Out: a dictionary from each form to its words, such as ``"don't": ("do", "n't")``.

The list follows ``tokenizer_exceptions.py`` in ``spacy/lang`` and in ``spacy/lang/en`` as of version 3.8. A test
compares a hash of all 1,347 forms. spaCy has the MIT licence (`LICENSE-spaCy.txt`), Copyright (C) 2016-2024 ExplosionAI
GmbH, 2016 spaCy GmbH, 2015 Matthew Honnibal.
"""

from collections.abc import Iterator
from functools import lru_cache

SMILEYS = r""":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-; :( :-(
:(( :-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ :1 :P :-P :p :-p :O :-O :o :-o :0 :-0
:() >:o :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_;
-_- -__- v.v V.V v_v V_V o_o o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.)
(>_<) (*_*) (¬_¬) ಠ_ಠ ಠ︵ಠ (ಠ_ಠ) ¯\(ツ)/¯ (╯°□°）╯︵┻━┻ ><(((*>"""
WHOLE = r"""\t \n — ' \") <space> '' C++ ä. ö. ü. em 'em ll 'll nuff 'nuff 'S 's ‘S ‘s and/or w/o 're 'Cause 'cause 'cos
'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am Ma'am o'clock O'clock lovin' Lovin' lovin Lovin havin' Havin' havin Havin 'd a.m.
Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. Mr. Mrs.
Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s. Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb.
Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M.
N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis."""
SPACES = (" ", "\t", "\n", "\u00a0")
# Every form before "|" is a word of its own.
SPLIT = """y'|all y|all how|'d|'y How|'d|'y not|'ve not|ve Not|'ve Not|ve can|not Can|not gon|na Gon|na got|ta Got|ta
let|'s Let|'s c'm|on C'm|on"""
PRONOUNS = ("i", "you", "he", "she", "it", "we", "they")
QUESTION_WORDS = ("who", "what", "when", "where", "why", "how", "there", "that", "this", "these", "those")
NEGATED = "ca could do does did had may might must need ought sha should wo would".split()
NEGATED_BRIEFLY = "ai are is was were have has dare".split()
WOULD_HAVE = ("could", "might", "must", "should", "would")
CLIPPED = ("doin", "goin", "nothin", "nuthin", "ol", "somethin")
# Words of their own that look like a contraction, such as "ill" for "i'll".
NOT_CONTRACTIONS = "Ill ill Its its Hell hell Shell shell Shed shed were Were Well well Whore whore".split()


@lru_cache(maxsize=1)
def special_cases() -> dict[str, tuple[str, ...]]:
    """Return the words of each form."""
    split = {"".join(parts): parts for parts in _contractions()}
    for form in NOT_CONTRACTIONS:
        split.pop(form, None)
    split |= {item.replace("|", ""): tuple(item.split("|")) for item in SPLIT.split()}
    split |= {f"{hour}{half}": (str(hour), half) for hour in range(1, 13) for half in ("a.m.", "am", "p.m.", "pm")}
    split |= {f"°{unit}.": ("°", unit, ".") for unit in "cfkCFK"}
    clipped = [form for word in CLIPPED for name in (word, word.title()) for form in (name, f"{name}'")]
    letters = [f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz"]
    whole = (*SMILEYS.split(), *WHOLE.split(), *SPACES, *clipped, *letters)
    straight = split | {form: (form,) for form in whole}
    curly = {form.replace("'", "’"): tuple(part.replace("'", "’") for part in straight[form]) for form in straight}
    return straight | curly


def _contractions() -> Iterator[tuple[str, ...]]:
    """Yield contractions as words; the apostrophe may be missing, and the first letter may be a capital one."""
    for word in PRONOUNS:
        endings = [("ll",), ("ll", "ve"), ("d",), ("d", "ve")]
        endings += [("m",), ("m", "a")] if word == "i" else []
        endings += [("ve",)] if word in ("i", "you", "we", "they") else []
        endings += [("re",)] if word in ("you", "we", "they") else []
        endings += [("s",)] if word in ("he", "she", "it") else []
        yield from _forms(word, endings)
    for word in QUESTION_WORDS:
        endings = [("ll",), ("ll", "ve"), ("d",), ("d", "ve")]
        endings += [("s",)] if word not in ("these", "those") else []
        endings += [("re",), ("ve",)] if word != "that" and word != "this" else []
        yield from _forms(word, endings)
    for word in NEGATED:
        yield from _forms(word, [("n't",), ("n't", "ve")])
    for word in WOULD_HAVE:
        yield from _forms(word, [("ve",)])
    for word in NEGATED_BRIEFLY:
        yield from _forms(word, [("n't",)])


def _forms(word: str, endings: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield a word with each ending, with and without apostrophes."""
    for name in (word, word.title()):
        for ending in endings:
            # of two endings only the first of "I'ma" has an apostrophe
            yield (name, *(part if "'" in part or part == "a" else f"'{part}" for part in ending))
            yield (name, *(part.replace("'", "") for part in ending))
