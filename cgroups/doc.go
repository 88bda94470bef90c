// Package cgroups gives each vassal a control group (cgroup v2): limits that hold for all its processes together, and
// a name for all of them, so that what is left can be found and killed whatever session it has fled to.
//
//	BASE                  a group that was handed to the emperor: its own, or emperor-cgroup
//	├─ emperord           the emperor itself, because a group that hands controllers down may hold no process
//	├─ vassal-shop.ini    one vassal: its limits
//	│  ├─ g1              a generation: vassald and all that comes from it
//	│  └─ g2              the resolver, or the next generation of a reload; both share the limits
//	└─ …
//
// All folders belong to the emperor: a tenant can neither leave its group nor make one in it. Facts are from the
// kernel's Documentation/admin-guide/cgroup-v2.rst.
package cgroups
