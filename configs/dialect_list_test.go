package configs

// unsupported names the cases of testdata/dialect that do not come out as in uWSGI, and why. TestDialect fails when one of
// them passes, so that the list can only shrink.
var unsupported = map[string]string{
	"816-regexp-option-bad": "a regular expression is judged by what obeys it, and nothing does yet",
	"818-route":             "routes are judged by what obeys them, and nothing does yet",
}
