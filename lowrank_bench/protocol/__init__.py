"""The fair protocol: what a study may claim, from its ledger and the table of its runs.

Pure: it trains nothing, and reads no more than records hold.
"""
