reset -c
