"""The kit: what a developer mails to a customer who has a cable and no knowledge."""
