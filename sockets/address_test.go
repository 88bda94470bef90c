package sockets

import (
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	good := map[string]Address{
		"/run/uwsgi/shop.sock": {Kind: Unix, Path: "/run/uwsgi/shop.sock"},
		"  /run/a":             {Kind: Unix, Path: "/run/a"},
		"33110":                {Kind: Unix, Path: "33110"}, // uWSGI: no colon is a path
		"./app.sock":           {Kind: Unix, Path: "./app.sock"},
		"@shop":                {Kind: Abstract, Path: "shop"},
		`\0shop`:               {Kind: Abstract, Path: "shop"},
		":3031":                {Kind: TCP, Port: 3031},
		"127.0.0.1:3031":       {Kind: TCP, Host: "127.0.0.1", Port: 3031},
		"localhost:":           {Kind: TCP, Host: "localhost"},
		"[::1]:3031":           {Kind: TCP, Host: "::1", Port: 3031},
		"[::ffff:1.2.3.4]:1":   {Kind: TCP, Host: "::ffff:1.2.3.4", Port: 1},
	}
	for text, want := range good {
		got, err := ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	bad := map[string]string{ // text → what the message must hold
		"":                             "empty",
		"@":                            "abstract",
		"unix:/run/a":                  `"unix:"`,
		"http://a:80":                  `"http:"`,
		"a:80abc":                      `"80abc"`,
		"a:70000":                      `"70000"`,
		"::1:80":                       "brackets",
		"[::1:80":                      "IPv6",
		"[1.2.3.4]:80":                 "IPv6",
		"/run/a:b":                     "colon",
		"/run/../etc/x":                "/etc/x",
		"/run/a\nb":                    "0x0a",
		"/run/a\x00b":                  "0x00",
		"/" + strings.Repeat("x", 107): "108 bytes",
		"@" + strings.Repeat("x", 107): "106",
	}
	for text, want := range bad {
		got, err := ParseAddress(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddress(%q) = %+v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"/run/a", "@a", ":1", "[::1]:2", "a:b:c", "\\0x", "unix:/a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Errorf("%q gives %+v, which reads back as %+v, %v", text, a, again, err)
		}
	})
}
