rem Secret: the account that reads the share. Anybody on the boot network can read this file.
set "SHARE_USER=winseed"
set "SHARE_PASSWORD=Share-Password-01"
