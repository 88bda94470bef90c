ln -s nope l; ln -s f l2
