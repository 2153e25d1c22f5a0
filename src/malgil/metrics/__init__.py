"""Numbers from predictions: what a sum of losses means to a reader."""
