"""What a trained model writes: settings, sampling, one decoding loop, stop texts, text in and out."""
