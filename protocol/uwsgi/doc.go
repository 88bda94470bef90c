// Package uwsgi speaks the uwsgi protocol, the wire between nginx (uwsgi_pass) and an application: packets, a server
// side like that of net/http/fcgi, and a client side that is an http.RoundTripper.
//
// A request is four bytes (modifier 1, size of the block of variables as 16 bits little endian, modifier 2), the block
// (name size, name, value size, value, …) and the body, whose length is the variable CONTENT_LENGTH. The answer is plain
// HTTP; its end is the end of the connection. A connection carries one request.
//
// Whoever can reach the socket of a real uWSGI can run code in it, through variables called UWSGI_* and through
// modifiers that manage, evaluate or call. Here those variables are dropped and those modifiers refused.
//
// Description of the wire: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
package uwsgi
