// Package stats has the JSON types of uWSGI's statistics, as its readers (uwsgitop, exporters of metrics) know them:
// names, order, nesting and types were taken from documents of uWSGI 2.0.21 (testdata), and a test compares both.
package stats
