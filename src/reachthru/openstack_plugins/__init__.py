"""What other services load into their own processes: small, and each knows that service only."""
