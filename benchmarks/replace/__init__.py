"""Does a full replace of very many records stay flat, and do its readers never see fewer?"""
