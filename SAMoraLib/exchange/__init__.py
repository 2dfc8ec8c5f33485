"""Other people's files, both ways: which system wrote them, under which names, and what becomes of them."""
