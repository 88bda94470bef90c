ln -s sub lnk
