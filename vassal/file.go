package vassal

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/emperord/emperord/configs"
)

// fileOptions are those that name a vassal's file; emperord chooses one by the file's ending.
var fileOptions = []string{"--ini", "--yaml", "--yml", "--json", "--js", "--xml", "--xmlconfig", "--config"}

// vassalFile returns the file that the command line names, as it is written: that of the last such option, or a file
// without an option. "" if there is none.
func vassalFile(args []string) string {
	found, bare := "", ""
	for i := 0; i < len(args); i++ {
		option, value, glued := strings.Cut(args[i], "=")
		switch {
		case glued && slices.Contains(fileOptions, option):
			found = value
		case slices.Contains(fileOptions, args[i]) && i+1 < len(args):
			i++
			found = args[i]
		case !strings.HasPrefix(args[i], "-") && configs.HasFormat(args[i]):
			bare = args[i]
		}
	}
	return first(found, bare)
}

// fileName is the name of the file that the command line names, without its folder and section.
func fileName(args []string) string {
	if file := vassalFile(args); file != "" {
		if name, ok := strings.CutPrefix(file, "emperor://"); ok {
			return name
		}
		return filepath.Base(strings.SplitN(file, ":", 2)[0])
	}
	return "command line"
}

// withoutSection cuts the section from the name of a file.
func withoutSection(file string) string {
	if strings.Contains(file, "://") {
		return file
	}
	file, _, _ = strings.Cut(file, ":")
	return file
}

// absolute is the path of the vassal file, for messages.
func absolute(o Options) string {
	file := strings.SplitN(vassalFile(o.Args), ":", 2)[0]
	switch {
	case file == "":
		return "/path/" + fileName(o.Args)
	case filepath.IsAbs(file):
		return file
	}
	return filepath.Join(o.Dir, file)
}
