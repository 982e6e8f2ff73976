"""DataDoP, the data set of GenDoP: its files, and how they are made of videos' reconstructions."""
