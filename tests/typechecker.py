"""beartype as jaxtyping's checker, with PEP 484's numeric tower: an int is good where a float is asked for."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
