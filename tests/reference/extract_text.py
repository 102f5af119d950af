"""Turns unpacked Debian and npm packages into documents of English prose, one JSON object a line.

HTML loses its tags, code and navigation; hard-wrapped plain text is set into paragraphs; RFCs lose their page breaks.
A paragraph that is no prose (tables, diagrams, listings) or that was seen before is left out, a document that is not
mostly English too. Documents come in the order of a hash, so that sources are well mixed:

    1-prose.jsonl   books, speeches, essays, encyclopaedias and handbooks, with a tenth of the rest
    2-more.jsonl    the other RFCs, software manuals and package descriptions

    python3 tests/reference/extract_text.py unpacked/ text/

Called by fetch_text.sh. Only the standard library is used; the same packages give the same files.
"""

import gzip
import hashlib
import html
import json
import os
import re
import sys
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

MIN_PARAGRAPH = 60  # characters
MIN_DOCUMENT = 400
MAX_DOCUMENT = 400_000
GROUP = 4_000  # short pieces (dictionary entries, cookies, package descriptions) are joined to about this length

# Share of a package's documents that goes into the first file.
SHARES = {"dict-gcide": 0.25}
OTHER_SHARE = 0.1
PROSE = {"anarchism", "brown", "debian-edu-doc-en", "debian-faq", "debian-handbook", "debian-policy", "debian-reference-en",
         "developers-reference", "dict-devil", "dict-foldoc", "dict-jargon", "doc-rfc-fyi-bcp", "fortunes", "gimp-help-en",
         "gnome-user-docs", "gnu-standards", "harden-doc", "inform-docs", "installation-guide-amd64", "mate-user-guide",
         "moby-dick", "nethack-spoilers", "r-cran-janeaustenr", "sotu"}

FOREIGN_LANGUAGE = re.compile(
    r"/(?!en)([a-z]{2,3})([-_@][A-Za-z]+)?/|\.(?!en\b|md\b|py\b)(ar|ca|cs|da|de|el|eo|es|et|fa|fi|fr|he|hr|hu|id|it|ja|ja\.\S+|km|ko|ko\.\S+|lt|nb|nl|nn|no|pl|pt|pt[-_]\w+|ro|"
    r"ru|sk|sl|sr|sv|tr|uk|vi|zh|zh[-_.]\w+)(\.utf8|\.utf-8|\.euc-kr|\.iso\S*)?(\.html)?$")
COMMON_WORDS = frozenset("the of and to in a is that it for as with be on by this are or not from you an at his her he".split())


# ---- Documents of each kind of file ----------------------------------------------------------------------------------

def strip_html(text):
    text = re.sub(r"(?is)<(script|style|head|nav|pre|svg|table|footer|header|form|select)\b.*?</\1\s*>|<!--.*?-->", "\n\n", text)
    text = re.sub(r"(?i)</?(p|div|h[1-6]|li|ul|ol|dl|dt|dd|tr|td|th|br|hr|section|article|blockquote|title|para|note|item|page)\b[^>]*>",
                  "\n\n", text)
    text = html.unescape(re.sub(r"<[^>]*>", "", text))
    return [re.sub(r"\s+", " ", part).strip(" ¶") for part in re.split(r"\n\s*\n", text)]


def wrapped_paragraphs(text):
    """Blocks of lines between blank ones, each set as one line."""
    for block in re.split(r"\n[ \t]*\n", text):
        lines = [line.strip() for line in block.split("\n") if line.strip()]
        if not lines or (len(lines) > 2 and sum(map(len, lines)) / len(lines) < 25):
            yield ""  # a list of names, a table, a diagram
            continue
        if any(re.search(r"\S {4,}\S", line) for line in lines) or "|" in block or "+-" in block or "..." * 2 in block:
            yield ""
            continue
        joined = ""
        for line in lines:
            hyphenated = re.search(r"[a-z]-$", joined)
            joined += line if not joined or hyphenated else " " + line
        yield re.sub(r"\s+", " ", joined)


def rfc_paragraphs(text):
    text = re.sub(r"\n*\n[^\n]*\[Page \w+\][ \t]*\n\f?\n?(RFC[^\n]*\n)?\n*", "\n\x00\n", text)  # footer, form feed, header
    # A paragraph cut by the page break goes on where the text before has no full stop.
    text = re.sub(r"([^\s.:;\x00])\n\x00\n(?=   \S)", r"\1\n", text).replace("\x00", "").replace("\f", "")
    body = re.split(r"\n(?:\d+\.?\s+)?(?:References|Normative References|Authors?' Address(?:es)?|Full Copyright Statement)\s*\n", text)
    return wrapped_paragraphs(max(body, key=len))


def info_paragraphs(text):
    text = re.sub(r"\x1f[^\n]*\nFile:[^\n]*\n", "\n\n", "\n" + text)
    text = re.sub(r"\n\* [^\n]*::[^\n]*(\n {10,}[^\n]*)*", "\n", text).replace("‘", "'").replace("’", "'")
    return wrapped_paragraphs(re.sub(r"\n[*=.\-]{4,}\n", "\n\n", text))


def pod_paragraphs(text):
    blocks = re.split(r"\n\s*\n", text)
    for block in blocks:
        if block.startswith(("=", " ", "\t")):
            continue
        plain = re.sub(r"[A-Z]<+ ?([^<>]*?) ?>+", r"\1", re.sub(r"L<([^|>]*)\|[^>]*>", r"\1", block))
        yield re.sub(r"\s+", " ", plain).strip()


def dictionary_entries(path):
    with gzip.open(path) as file:  # .dz is gzip
        text = file.read().decode("utf-8", "replace")
    for entry in re.split(r"\n(?=\S)", text):
        entry = re.sub(r"\[1913 Webster\]|\[PJC\]|\[WordNet[^\]]*\]|\(\d{4}-\d\d-\d\d\)", "", entry).replace("{", "").replace("}", "")
        parts = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n[ \t]*\n", entry)]
        yield "\n".join(part for part in parts if part)


def r_strings(path):
    """Character vectors of an R lazy-load database: zlib blocks of XDR, whose strings are CHARSXP (type 9) records."""
    with open(path, "rb") as file:
        data = file.read()
    place = 0
    while place + 5 < len(data):
        for start in range(place, min(place + 64, len(data))):
            try:
                inflater = zlib.decompressobj()
                block = inflater.decompress(data[start:])
                place = len(data) - len(inflater.unused_data)
                break
            except zlib.error:
                continue
        else:
            return
        lines, at = [], 0
        while True:
            at = block.find(b"\x00\x09", at)
            if at < 0 or at + 8 > len(block):
                break
            length = int.from_bytes(block[at + 2:at + 6], "big", signed=True)
            if 0 <= length < 4096 and at + 6 + length <= len(block):
                lines.append(block[at + 6:at + 6 + length].decode("utf-8", "replace"))
                at += 6 + length
            else:
                at += 1
        yield "\n".join(lines)


def brown_text(text):
    """The Brown corpus without its tags: word/tag pairs, punctuation apart."""
    paragraphs = []
    for line in text.split("\n"):
        words = " ".join(pair.rsplit("/", 1)[0] for pair in line.split())
        words = words.replace("`` ", '"').replace(" ''", '"').replace("``", '"').replace("''", '"')
        paragraphs.append(re.sub(r" ([.,;:?!)])", r"\1", words).replace("( ", "("))
    joined = " ".join(paragraphs)
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z\"])", re.sub(r"\s+", " ", joined))
    return [" ".join(sentences[i:i + 5]) for i in range(0, len(sentences), 5)]


def grouped(pieces):
    """Pieces joined in their order to documents of about GROUP characters."""
    document, size = [], 0
    for piece in pieces:
        if not piece:
            continue
        document.append(piece)
        size += len(piece)
        if size >= GROUP:
            yield document
            document, size = [], 0
    if document:
        yield document


def documents_of(package, path):
    """Documents of a file, each a list of paragraphs."""
    name = os.path.basename(path)
    if package == "r-cran-janeaustenr":
        if name == "Rdata.rdb":
            for novel in r_strings(path):
                yield from grouped(wrapped_paragraphs(novel))
        return
    if name.endswith(".dict.dz") or name.endswith(".dz"):
        yield from grouped(dictionary_entries(path))
        return
    opened = gzip.open(path) if name.endswith(".gz") else open(path, "rb")
    try:
        with opened as file:
            raw = file.read()
    except (OSError, EOFError, zlib.error):
        return
    if b"\x00" in raw[:4096]:
        return
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n")
    base = name.removesuffix(".gz")
    if package == "brown":
        yield brown_text(text)
    elif package == "nlp-corpus":
        yield from grouped(json.loads(text))
    elif package == "sotu" or package == "moby-dick":
        yield [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text)]
    elif package == "fortunes":
        yield from grouped("\n".join(line.strip() for line in piece.strip().split("\n")) for piece in text.split("\n%\n"))
    elif package == "descriptions":
        yield from grouped(description_pieces(text))
    elif re.fullmatch(r"rfc\d+\.txt", base):
        yield list(rfc_paragraphs(text))
    elif re.search(r"\.(x?html?|page|docbook|xhp)$", base) or re.search(r"\.html\.en$", base):
        yield strip_html(text)
    elif re.search(r"\.info(-\d+)?$", base):
        for node in re.split(r"\x1f", text):
            yield list(info_paragraphs("\x1f" + node))
    elif base.endswith(".pod"):
        yield list(pod_paragraphs(text))
    else:
        yield list(wrapped_paragraphs(text))


def description_pieces(text):
    """Long descriptions of Debian's Translation-en, as paragraphs."""
    for stanza in text.split("\n\n"):
        found = re.search(r"Description-en: (.*)\n((?: .*\n?)*)", stanza)
        if found:
            lines = [line[1:] for line in found[2].split("\n")]
            blocks = "\n".join("" if line.strip() == "." else line for line in lines)
            yield "\n".join(p for p in wrapped_paragraphs(blocks) if len(p) >= MIN_PARAGRAPH)


def wanted(package, path):
    base = path.removesuffix(".gz")
    if re.search(r"/(copyright|changelog[^/]*|README[^/]*|NEWS[^/]*|TODO|AUTHORS|genindex[^/]*|search\.html|py-modindex[^/]*|Notes)$", base):
        return False
    if "/_sources/" in path or "/man/" in path or "/doc-base/" in path or "/lintian/" in path:
        return False
    if package.startswith("doc-rfc"):
        return re.search(r"/rfc\d+\.txt$", base) is not None
    if package == "fortunes":
        return "/games/fortunes/" in path and "." not in os.path.basename(path)
    if package == "brown":
        return re.fullmatch(r"c[a-r]\d\d", os.path.basename(path)) is not None
    if package == "nlp-corpus":
        return re.search(r"/builds/doc-\d+\.json$", path) is not None
    if package == "rust-doc":
        return re.search(r"/html/(book|reference|nomicon|embedded-book|cargo|rustc|edition-guide|style-guide|unstable-book)/.*\.html$", path) is not None
    if package == "debian-handbook":
        return "/html/en-US/" in path and path.endswith(".html")
    if package in ("sotu", "moby-dick"):
        return re.search(r"/data/(?!data\.)[^/]*\.txt$", path) is not None
    if package in ("r-cran-janeaustenr", "descriptions"):
        return True
    if path.endswith(".dz"):
        return True
    if package == "gnome-user-docs" or package == "mate-user-guide" or package == "khelpcenter":
        return re.search(r"/(C|en)/.*\.(page|docbook|xml)$", path) is not None
    tail = path.split("/usr/share/", 1)[-1]
    if FOREIGN_LANGUAGE.search("/" + tail) and not re.search(r"/(en|C|gcc|api|lib|std|cli|how|ch|faq|man|doc|sql|ref)/", tail):
        if re.search(r"/(de|fr|es|it|ja|pl|pt|ru|zh|nl|cs|ko|sv|da|tr|uk|vi|ca|hu|fi|ro|el|pt-br|zh-cn|zh-tw|pt_BR|zh_CN|ja_JP)(\W|/)", "/" + tail) or \
                re.search(r"\.html?\.[a-z]|\.[a-z]{2}\.html$", tail):
            return False
    return re.search(r"\.(x?html?|html\.en|txt|info(-\d+)?|pod|page|docbook)$", base) is not None


# ---- Cleaning ----------------------------------------------------------------------------------------------------------

def is_prose(paragraph):
    if len(paragraph) < MIN_PARAGRAPH or "�" in paragraph:
        return False
    plain = sum(c.isalpha() or c == " " for c in paragraph)
    if plain < 0.86 * len(paragraph) or paragraph.count(" ") < 0.1 * len(paragraph):
        return False
    return sum(c > "\u024f" for c in paragraph) <= 0.02 * len(paragraph)  # letters of other scripts


def clean(paragraphs):
    kept = []
    for paragraph in paragraphs:
        lines = [line for line in paragraph.split("\n") if is_prose(line)]
        if lines:
            kept.append("\n".join(lines))
    text = "\n\n".join(kept)
    words = text.lower().split()
    if len(text) < MIN_DOCUMENT or sum(word in COMMON_WORDS for word in words) < 0.2 * len(words):
        return None
    return kept


def read_package(arguments):
    package, folder = arguments
    found = []
    for parent, folders, names in sorted(os.walk(folder)):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.islink(path) or not wanted(package, path):
                continue
            for paragraphs in documents_of(package, path):
                kept = clean(paragraphs)
                if kept is not None:
                    found.append(kept)
    return package, found


def main():
    source, out = sys.argv[1], sys.argv[2]
    packages = sorted(os.listdir(source))
    os.makedirs(out, exist_ok=True)
    seen, documents, report = set(), [], []
    with ProcessPoolExecutor() as pool:
        for package, found in pool.map(read_package, [(p, os.path.join(source, p)) for p in packages]):
            count = size = 0
            for paragraphs in found:
                fresh = []
                for paragraph in paragraphs:
                    digest = hashlib.blake2b(paragraph.encode(), digest_size=8).digest()
                    if digest not in seen:
                        seen.add(digest)
                        fresh.append(paragraph)
                text = "\n\n".join(fresh)
                if len(text) < MIN_DOCUMENT:
                    continue
                key = hashlib.blake2b(text.encode(), digest_size=8).digest()
                first = key[0] < 256 * (1 if package in PROSE else SHARES.get(package, OTHER_SHARE))
                for start in range(0, len(text), MAX_DOCUMENT):
                    documents.append((not first, key, start, text[start:start + MAX_DOCUMENT]))
                count += 1
                size += len(text.encode())
            report.append((size, count, package))
    documents.sort(key=lambda document: document[:3])
    sizes = Counter()
    files = [open(os.path.join(out, name), "w", encoding="utf-8") for name in ("1-prose.jsonl", "2-more.jsonl")]
    for more, _, _, text in documents:
        files[more].write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        sizes[files[more].name] += len(text.encode())
    for file in files:
        file.close()
    for size, count, package in sorted(report, reverse=True):
        print(f"{size:>12,} bytes {count:>7,} documents  {package}")
    for name, size in sizes.items():
        print(f"{size:>12,} bytes of text in {name}")


if __name__ == "__main__":
    main()
