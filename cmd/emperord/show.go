package main

import (
	"fmt"
	"io"

	"github.com/emperord/emperord/configs"
)

// show prints the settings as `uwsgi --show-config` does. What keeps emperord from governing with them is only said.
func show(in configs.Reading, stdout, stderr io.Writer) int {
	settings, said, err := configs.Show(in)
	if err != nil {
		fmt.Fprintln(stderr, "emperord:", err)
		return exitMistake
	}
	for _, n := range said {
		fmt.Fprintln(stderr, "emperord:", n)
	}
	if _, err := stdout.Write(configs.Block(settings)); err != nil {
		fmt.Fprintln(stderr, "emperord: cannot print the settings:", err)
		return exitFailed
	}
	if _, _, err := configs.ParseEmperor(settings); err != nil {
		fmt.Fprintln(stderr, "emperord: would not govern with this:", err)
	}
	return exitAsked
}
