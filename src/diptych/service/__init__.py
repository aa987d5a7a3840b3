"""Search over HTTP: a REST interface and a page. No torch; collections and models arrive ready made."""
