package configs

import (
	"fmt"
	"strings"
)

// String names a kind as the documentation does.
func (k Kind) String() string {
	names := [...]string{"in its own way", "boolean", "inverse boolean", "number", "64-bit number", "16-bit number", "number of MiB", "text", "list",
		"plugins", "name=value", "variable", "regular expression", "regular expression and value", "socket", "TLS socket", "octal mode", "user", "group",
		"date format", "configuration file", "opens a block", "closes a block"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", k)
}

// String names who obeys an option: "emperord, vassald"; "nobody" where nobody does.
func (p Party) String() string {
	var list []string
	for _, one := range [...]struct {
		party Party
		name  string
	}{{ByEmperor, "emperord"}, {ByVassal, "vassald"}, {ByLanguage, "the language host"}, {ByGateway, "a gateway"}, {ByReader, "the reader of the configuration"}} {
		if p&one.party != 0 {
			list = append(list, one.name)
		}
	}
	if list == nil {
		return "nobody"
	}
	return strings.Join(list, ", ")
}

// Aliases returns the other spellings of an option, in order of the alphabet.
func (o Option) Aliases() []string {
	var list []string
	for i := range table {
		if table[i].Name != o.Name && table[i].First() == o.First() {
			list = append(list, table[i].Name)
		}
	}
	return list
}

// Placeholder is what stands for the value in a line of help; empty for a flag.
func (o Option) Placeholder() string {
	if o.Argument == NoArgument {
		return ""
	}
	switch o.Kind {
	case Int, Uint64, Uint16, Megabytes:
		switch {
		case o.Unit == "s":
			return "SECONDS"
		case o.Unit == "ms":
			return "MS"
		case o.Unit != "":
			return strings.ToUpper(o.Unit)
		case o.Kind == Megabytes:
			return "MIB"
		}
		return "N"
	case Assignment, Environment:
		return "NAME=VALUE"
	case Plugins:
		return "PLUGINS"
	case Regexp:
		return "REGEXP"
	case RegexpValue:
		return "REGEXP VALUE"
	case Socket:
		return "ADDRESS"
	case TLSSocket:
		return "ADDRESS,CERTIFICATE,KEY"
	case Mode:
		return "MODE"
	case User:
		return "USER"
	case Group:
		return "GROUP"
	case File:
		return "FILE"
	case Bool, BoolInverse:
		return "BOOL"
	}
	return "VALUE"
}

// Takes says what values an option takes: "number, s, from 1 to 1024, default 4".
func (o Option) Takes() string {
	text := o.Kind.String()
	if o.Unit != "" && o.Kind != Megabytes {
		text += ", " + o.Unit
	}
	switch {
	case o.High > 0 && o.High < longest:
		text += fmt.Sprintf(", %d to %d", o.Low, o.High)
	case o.Low > 0:
		text += fmt.Sprintf(", from %d", o.Low)
	}
	if o.Default != "" {
		text += ", default " + o.Default
	}
	return text
}

// flags writes an option as on a command line: "-p, --processes N".
func (o Option) flags() string {
	text := "    "
	if o.Letter != 0 {
		text = "-" + string(o.Letter) + ", "
	}
	text += "--" + o.Name
	switch value := o.Placeholder(); {
	case value == "":
	case o.Argument == Optional:
		text += "[=" + value + "]"
	default:
		text += " " + value
	}
	return text
}
