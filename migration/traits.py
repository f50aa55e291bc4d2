"""The one value that tells planning about an engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """What an engine can hold and do, as data, so that planning needs no engine's name.

    ``identifier_bytes`` is the longest name; ``text_holds_nul`` and ``text_holds_any_bytes`` tell
    what its text may contain; ``keeps_storage_classes`` means that any column may hold a value of
    any class (and that its rows must be read that way); ``alters_constraints`` means that keys,
    checks and foreign keys can be added after the rows; ``decimal_digits`` is how many digits a decimal
    keeps and ``index_bytes`` the longest entry of an index (``None``: no limit); ``refresh_statistics``
    is the statement, before a table's name, that the engine's query planner wants after a load;
    ``folds_names`` means that names which differ only in case are the same. Of its SQL:
    ``like_ignores_case``; ``double_quoted_text`` means that a double-quoted name which is no column is a
    text; ``bytes_type`` is what a text of hexadecimal digits is cast to where ``x'00'`` is no bytes.

    ``transactional_ddl`` means that what makes and drops tables takes part in transactions, so that a
    rollback takes it back; where it does not, everything that makes or drops is written to be repeated.
    ``identifier_characters`` limits names where characters are counted and not bytes;
    ``folds_column_names`` is ``folds_names`` for columns alone. ``decimal_scale`` is how many digits a
    decimal keeps behind its point; ``holds_infinity`` and ``holds_negative_zero`` are said of binary
    floats. ``sized_keys`` means that a text or bytes column can be in a key or an index only with a size,
    and then counts ``bytes_per_character`` for each character of it; ``row_bytes`` is the most that all
    sized columns of a row may take together, ``column_count`` the most columns of a table.
    ``current_instant`` is the default that writes the time of the insert into a column of instants.
    ``partial_indexes`` means that an index can be of some rows only. ``json_valid`` is the function that
    tells whether a text is JSON, ``utc_now`` the time in UTC without a zone; ``instants_have_zones``
    means that the current time may stand beside a column of instants, whatever the zone of the session.
    ``divides_whole`` means that 7 / 2 is 3. ``constraint_names_are_global`` means that no two tables can
    have a foreign key or a check of one name, ``index_names_are_global`` that an index is called like no
    other index and no table. ``refused_names`` is a pattern that is found in names the engine does not take.
    ``row_numbers_move`` means that a table without a number of its own is read in an order of which a
    position means something else once the database was tidied up.
    """

    dialect: str
    identifier_bytes: int | None
    text_holds_nul: bool
    text_holds_any_bytes: bool
    keeps_storage_classes: bool
    alters_constraints: bool
    holds_nan: bool
    decimal_digits: int | None
    index_bytes: int | None = None
    refresh_statistics: str | None = None
    folds_names: bool = False
    like_ignores_case: bool = False
    double_quoted_text: bool = False
    bytes_type: str | None = None
    transactional_ddl: bool = True
    identifier_characters: int | None = None
    folds_column_names: bool = False
    decimal_scale: int | None = None
    holds_infinity: bool = True
    holds_negative_zero: bool = True
    sized_keys: bool = False
    bytes_per_character: int = 1
    row_bytes: int | None = None
    column_count: int | None = None
    current_instant: str = "CURRENT_TIMESTAMP"
    partial_indexes: bool = True
    json_valid: str | None = None
    utc_now: str = "CURRENT_TIMESTAMP AT TIME ZONE 'UTC'"
    instants_have_zones: bool = True
    divides_whole: bool = True
    constraint_names_are_global: bool = False
    index_names_are_global: bool = True
    refused_names: str | None = None
    row_numbers_move: bool = False
