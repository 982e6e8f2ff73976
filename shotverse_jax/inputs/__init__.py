"""What the networks read, made on the host: tokens, prompt windows, camera rows and pictures."""
