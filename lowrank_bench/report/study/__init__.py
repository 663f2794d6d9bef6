"""What a report shows of studies: their findings, figures and tables."""
