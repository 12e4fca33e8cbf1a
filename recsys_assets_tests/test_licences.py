"""Everything that the images install may be used commercially, and linked by code of any licence."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError

from recsys_assets_tests.licences import licence_of, locked

FREE = re.compile(r"MIT|Apache|BSD|Python Software Foundation|PSF|MPL|Mozilla|ISC|Zlib|CC0|HPND", re.IGNORECASE)
READ_BY_A_PERSON = {
    "psycopg2-binary": "LGPL with exceptions: imported as it is, never changed",
    "huey": "MIT, said in its repository alone",
    "skops": "MIT, said in its repository alone",
}


def test_licences_allow_commercial_use() -> None:
    looked_at = 0
    for name in locked():
        try:
            licence = licence_of(name)
        except PackageNotFoundError:
            continue  # for another platform
        looked_at += 1
        assert FREE.search(licence) or name in READ_BY_A_PERSON, f"{name}: {licence}"
        assert not re.search(r"\bA?GPL", licence), f"{name}: {licence}"
    assert looked_at > 100
    assert set(READ_BY_A_PERSON) <= set(locked()), "a package that is not installed any more needs no word"
