package logs

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func plain(text string) []byte { return []byte("said: " + text + "\n") }

func received(t *testing.T, c net.PacketConn) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := c.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestEachLineIsADatagram(t *testing.T) {
	for _, network := range []string{"udp4", "udp6", "unixgram"} {
		t.Run(network, func(t *testing.T) {
			address := map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0", "unixgram": filepath.Join(t.TempDir(), "s")}[network]
			c, err := net.ListenPacket(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			o := DatagramOptions{Path: address, Say: plain}
			if network != "unixgram" {
				o.Address = netip.MustParseAddrPort(c.LocalAddr().String())
			}
			d, err := OpenDatagrams(o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			text := "one\n\ntwo <3>\n" + strings.Repeat("x", 3*maxDatagram) + "\nno end"
			if n, err := d.Write([]byte(text)); err != nil || n != len(text) {
				t.Error(n, err)
			}
			for _, want := range []string{"one\n", "two <3>\n", strings.Repeat("x", maxDatagram) + "\n", "no end\n"} { // as uWSGI's logto: with the line feed
				if got := received(t, c); got != want {
					t.Errorf("got %.80q, not %.80q", got, want)
				}
			}
		})
	}
}

// The head is that of uWSGI 2.0.21 with log-syslog = myapp,local3: <158>Nov 21 21:26:03 myapp: text.
func TestSyslogGetsItsHead(t *testing.T) {
	for _, c := range []struct {
		head       Head
		line, want string
	}{
		{Head{Name: "myapp", Facility: 19}, "<3>a tenant's word", "^<158>[A-Z][a-z]{2} [ 1-3][0-9] [0-9:]{8} myapp: <3>a tenant's word$"},
		{Head{Name: "uwsgi", Facility: 3, Levels: true}, "<3>ERROR no", "^<27>[A-Z][a-z]{2} [ 1-3][0-9] [0-9:]{8} uwsgi: ERROR no$"},
		{Head{Name: "uwsgi", Facility: 3, Levels: true}, "<9>x", "^<30>.* uwsgi: <9>x$"},
		{Head{Name: "uwsgi", Facility: 3, Levels: true}, "[shop.ini] <0>x", `^<30>.* uwsgi: \[shop.ini\] <0>x$`},
		{Head{Name: "uwsgi", Facility: 3, Levels: true}, "<3", "^<30>.* uwsgi: <3$"},
	} {
		if got := string(c.head.packet([]byte(c.line), time.Now())); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("%q is not %q", got, c.want)
		}
	}
}

// TestLinesGoElsewhereWhileNobodyTakesThem starts without syslog, then it comes, leaves, and comes again as another socket.
func TestLinesGoElsewhereWhileNobodyTakesThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var instead strings.Builder
	d, err := OpenDatagrams(DatagramOptions{Path: path, Instead: &instead, Say: plain})
	if err == nil {
		t.Fatal("it is there")
	}
	defer d.Close()
	_, _ = d.Write([]byte("early\nearly too\n"))
	if got := instead.String(); strings.Count(got, "cannot be sent to "+path) != 1 || !strings.Contains(got, "nobody takes datagrams there") || !strings.Contains(got, "\nearly\nearly too\n") {
		t.Errorf("%s", got)
	}
	for _, round := range []string{"first", "second"} {
		c, err := net.ListenPacket("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		d.again = time.Time{} // a second has passed
		_, _ = d.Write([]byte(round + "\n"))
		if got := received(t, c); got != round+"\n" {
			t.Errorf("%q", got)
		}
		c.Close()
		os.Remove(path)
		instead.Reset()
		_, _ = d.Write([]byte("between\n"))
		if got := instead.String(); !strings.Contains(got, "cannot be sent to") || !strings.HasSuffix(got, "between\n") {
			t.Errorf("%q", got)
		}
	}
}

// TestASyslogThatIsStartedAgainLosesNothing: its socket is another one, and who sends does not have to be told.
func TestASyslogThatIsStartedAgainLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var instead strings.Builder
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDatagrams(DatagramOptions{Path: path, Instead: &instead, Say: plain})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c.Close()
	os.Remove(path)
	if c, err = net.ListenPacket("unixgram", path); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = d.Write([]byte("again\n"))
	if got := received(t, c); got != "again\n" || instead.Len() > 0 {
		t.Errorf("%q %q", got, instead.String())
	}
}

// TestAReaderThatHangsHoldsNobodyUp fills a socket that nobody reads: the lines go elsewhere, and one wait is all that it costs.
func TestAReaderThatHangsHoldsNobodyUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var instead strings.Builder
	d, err := OpenDatagrams(DatagramOptions{Path: path, Instead: &instead, Say: plain})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	begin := time.Now()
	for range 1000 {
		_, _ = d.Write([]byte("line\n"))
	}
	if took := time.Since(begin); took > 50*patience { // a wait for each line would be a thousand
		t.Errorf("it took %s", took)
	}
	lost := strings.Count(instead.String(), "line\n")
	if lost == 0 || strings.Count(instead.String(), "cannot be sent") != 1 {
		t.Errorf("%d lines, %.200s", lost, instead.String())
	}
	for range 1000 - lost { // nothing is lost
		received(t, c)
	}
	instead.Reset()
	_, _ = d.Write([]byte("well\n"))
	if got := received(t, c); got != "well\n" || !strings.Contains(instead.String(), "is sent to "+path+" again") {
		t.Errorf("%q %q", got, instead.String())
	}
}

func TestAPortWhereNobodyListensIsSaidOnce(t *testing.T) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(c.LocalAddr().String())
	c.Close()
	var instead strings.Builder
	d, err := OpenDatagrams(DatagramOptions{Address: address, Instead: &instead, Say: plain})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(instead.String(), "nobody listens on UDP "); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q", instead.String())
		}
		_, _ = d.Write([]byte("lost\n"))
	}
	_, _ = d.Write([]byte("here too\n"))
	if got := instead.String(); strings.Count(got, "said:") != 1 || !strings.HasSuffix(got, "here too\n") {
		t.Errorf("%q", got)
	}
}

func TestDatagramsOfAWrongKind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := OpenDatagrams(DatagramOptions{Path: path}); err == nil || !strings.Contains(err.Error(), "it is no datagram socket") {
		t.Error(err)
	}
	if err := (&Datagrams{o: DatagramOptions{Path: "/x y"}}).explain(unix.EACCES); !strings.Contains(err.Error(), "see: ls -l '/x y'") {
		t.Error(err)
	}
}
