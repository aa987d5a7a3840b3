"""Collections of pictures: store them, index them resumably, search them. numpy and LanceDB; no torch."""
