"""The catalogue's records, by publisher: tables of frozen records, without torch."""
