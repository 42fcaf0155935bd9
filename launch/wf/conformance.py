"""Texts on which two tokenizers that are the same give the same ids."""

from pathlib import Path

from wf.error import Error

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    " leading and trailing spaces  ",
    "tabs\tand\t\ttabs, new\nlines\n\nand\r\nmore\n\n\n\n   indented\n\t\tdeeper",
    "I'm sure they'll say it's what WE'VE done; 'tis 'quoted' — she'd gone, y'all're late",
    "0 1 12 123 1234 12345 123456 3.14159 1,000,000 -7 1e-5 0x1F ²³ ½ ٣٤ ४५ Ⅷ",
    "def f(x):\n    return {k: v**2 for k, v in x.items() if k != 'a_b'}  # comment\n\n\n",
    "https://example.org/path?query=1&other=two#part <a href=\"x\">y</a> a+b=c; x<<=3 && !z || w",
    "Größe, façade, naïve, señor, Æsop, œuvre, Żółć, Ελληνικά, кириллица, עברית, العربية",
    "漢字かな交じり文。한국어 문장입니다. 中文，标点！ภาษาไทย हिन्दी తెలుగు",
    "🙂 👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 A\u030a \u200b\u200d\ufeff \u00a0\u2003x \u3000y",
    "...!!!???---___***  ::: ;;; (((a))) [b]{c} <d> «e» “f” ‘g’ …",
    "camelCaseAndPascalCase snake_case kebab-case SHOUTING_CASE mIxEd",
    "a\x00b\x01c\x7f\x1b[31m",
    "\n", " ", "  ", "   \n  ", "", "x" * 70, " " * 33 + "y", "9" * 21, "'s", "' s", "ſ's K",
)  # fmt: skip


class FolderTokenizer:
    """A model folder's tokenizer by its own library: tokenizer.json, else tokenizer.model."""

    def __init__(self, folder: Path):
        self.file = folder / "tokenizer.json"
        self.is_json = self.file.is_file()
        if self.is_json:
            from tokenizers import Tokenizer

            self.model = Tokenizer.from_file(str(self.file))
            return
        from sentencepiece import SentencePieceProcessor

        self.file = folder / "tokenizer.model"
        if not self.file.is_file():
            raise Error(f"{folder}: holds neither tokenizer.json nor tokenizer.model")
        self.model = SentencePieceProcessor(model_file=str(self.file))

    def ids(self, text: str, special: bool = False) -> list[int]:
        """`special`: with what is put before and after a text."""
        if self.is_json:
            return self.model.encode(text, add_special_tokens=special).ids
        return self.model.encode(text, add_bos=special)

    def comparable(self, text: str) -> str:
        """The text without what llama.cpp is known to see otherwise: it does not bring text into
        NFC, has a space before every text where Metaspace has one only before texts without, and
        does not end at a NUL as sentencepiece does."""
        if not self.is_json:
            return text.replace("\0", "")
        if type(self.model.normalizer).__name__ == "NFC":
            text = self.model.normalizer.normalize_str(text)
        if type(self.model.pre_tokenizer).__name__ == "Metaspace":
            text = text.lstrip(" ")
        return text
