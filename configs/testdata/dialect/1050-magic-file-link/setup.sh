ln -s sub/x.ini lnk.ini
