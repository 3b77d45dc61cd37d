"""The ground floor: the operating system and bytes. It knows no subject."""
