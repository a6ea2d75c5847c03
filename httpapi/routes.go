package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"alcove/tenancy"
)

const (
	pathHealth = "/healthz"
	pathReady  = "/readyz"

	pathMetrics = "/metrics"

	v1         = "/api/v1"
	pathTenant = v1 + "/tenants/:tenant"
	pathKBs    = pathTenant + "/knowledge-bases"
	pathKeys   = pathTenant + "/api-keys"
	pathUsers  = v1 + "/users"
	pathBackup = v1 + "/admin/backup"
	pathPeople = pathTenant + "/members"
	pathKB     = pathKBs + "/:kb"
	pathDocs   = pathKB + "/documents"
	pathDoc    = pathDocs + "/:doc"
	pathJobs   = pathKB + "/jobs"
	pathQuery  = pathKB + "/query"
	pathGraph  = pathKB + "/graph"
)

const (
	get   = http.MethodGet
	post  = http.MethodPost
	put   = http.MethodPut
	del   = http.MethodDelete
	owner = right(tenancy.PermTenantManage)
	admin = right(tenancy.PermSystemAdmin)
	host  = right(tenancy.PermTenantMembers)
)

// routeTable is the map of the wire: every route, the right it asks for, who
// serves it and the query parameters it knows. open shows no data; password is how
// a token is got; managed acts through tenancy in the caller's name; reads hands out
// a *engine.Reader and writes a *engine.KB of the one knowledge base in the path.
func (s *Server) routeTable() []route {
	routes := s.ownRoutes()
	if s.o.Single != "" {
		routes = slices.DeleteFunc(routes, func(l route) bool { return strings.HasPrefix(l.pattern, v1+"/tenants") })
	}
	if s.o.LightRAG || s.o.Single != "" {
		routes = append(routes, s.lightRAGRoutes()...)
	}
	return routes
}

// lightRAGRoutes are LightRAG's own. They act on the knowledge base of X-Tenant-ID and
// X-KB-ID, or the only one of the credential: see place.
func (s *Server) lightRAGRoutes() []route {
	return []route{
		s.open(get, "/health", s.legacyHealth),
		s.open(get, "/auth-status", s.authStatus),
		s.password(post, "/login", s.login),

		s.writes(post, "/documents/scan", tenancy.PermDocumentCreate, s.legacyScan),
		s.writes(post, "/documents/upload", tenancy.PermDocumentCreate, s.legacyUpload),
		s.writes(post, "/documents/text", tenancy.PermDocumentCreate, s.legacyText),
		s.writes(post, "/documents/texts", tenancy.PermDocumentCreate, s.legacyTexts),
		s.reads(get, "/documents", tenancy.PermDocumentRead, s.legacyDocuments),
		s.reads(post, "/documents/paginated", tenancy.PermDocumentRead, s.legacyPaginated),
		s.reads(get, "/documents/status_counts", tenancy.PermDocumentRead, s.legacyStatusCounts),
		s.reads(get, "/documents/track_status/:track", tenancy.PermDocumentRead, s.legacyTrack),
		s.reads(get, "/documents/pipeline_status", tenancy.PermDocumentRead, s.pipelineStatus),
		s.reads(get, "/documents/supported_file_types", tenancy.PermDocumentRead, s.supportedFileTypes),
		s.writes(post, "/documents/cancel_pipeline", tenancy.PermDocumentUpdate, s.cancelPipeline),
		s.writes(post, "/documents/reprocess_failed", tenancy.PermDocumentUpdate, s.reprocessFailed),
		s.writes(post, "/documents/clear_cache", tenancy.PermDocumentUpdate, s.clearCache),
		s.writes(del, "/documents/delete_document", tenancy.PermDocumentDelete, s.legacyDelete),
		s.writes(del, "/documents", tenancy.PermDocumentDelete, s.legacyClear),
		s.writes(del, "/documents/delete_entity", tenancy.PermDocumentUpdate, s.legacyDeleteEntity),
		s.writes(del, "/documents/delete_relation", tenancy.PermDocumentUpdate, s.legacyDeleteRelation),

		s.reads(post, "/query", tenancy.PermQueryRun, s.query),
		s.reads(post, "/query/stream", tenancy.PermQueryRun, s.legacyStream),
		s.reads(post, "/query/data", tenancy.PermQueryRun, s.queryData),

		s.reads(get, "/graphs", tenancy.PermKBAccess, s.graph, "label", "max_depth", "max_nodes"),
		s.reads(get, "/graph/label/list", tenancy.PermKBAccess, s.labelList),
		s.reads(get, "/graph/label/popular", tenancy.PermKBAccess, s.labelPopular, "limit"),
		s.reads(get, "/graph/label/search", tenancy.PermKBAccess, s.graphLabels, "q", "limit"),
		s.reads(get, "/graph/entity/exists", tenancy.PermKBAccess, s.entityExists, "name"),
		s.writes(post, "/graph/entity/create", tenancy.PermDocumentUpdate, s.createEntity),
		s.writes(post, "/graph/entity/edit", tenancy.PermDocumentUpdate, s.editEntity),
		s.writes(del, "/graph/entity/delete", tenancy.PermDocumentUpdate, s.legacyDeleteEntity),
		s.writes(post, "/graph/relation/create", tenancy.PermDocumentUpdate, s.createRelation),
		s.writes(post, "/graph/relation/edit", tenancy.PermDocumentUpdate, s.editRelation),
		s.writes(del, "/graph/relation/delete", tenancy.PermDocumentUpdate, s.legacyDeleteRelation),
		s.writes(post, "/graph/entities/merge", tenancy.PermDocumentUpdate, s.mergeEntities),
	}
}

func (s *Server) ownRoutes() []route {
	return []route{
		s.open(get, pathHealth, s.health),
		s.open(get, pathReady, s.ready),
		s.open(get, pathOpenAPI, s.openAPIDocument),
		s.open(get, pathDocsUI, s.docsPage),
		s.open(get, pathDocsStart, s.docsStart),
		s.open(get, pathDocsStyle, swaggerUI("swagger-ui.css", "text/css; charset=utf-8")),
		s.open(get, pathDocsScript, swaggerUI("swagger-ui-bundle.js", "text/javascript; charset=utf-8")),

		s.password(post, v1+"/auth/token", s.signIn),
		s.managed(put, v1+"/auth/password", anyCaller, s.changePassword),
		s.managed(get, v1+"/auth/me", anyCaller, s.whoAmI),
		s.managed(post, v1+"/auth/revoke", anyCaller, s.revokeToken),

		s.managed(post, pathUsers, admin, s.createUser),
		s.managed(get, pathUsers, admin, s.listUsers, "cursor", "limit"),
		s.managed(put, pathUsers+"/:user", admin, s.updateUser),
		s.managed(del, pathUsers+"/:user", admin, s.deleteUser),

		s.managed(post, v1+"/tenants", admin, s.createTenant),
		s.managed(get, v1+"/tenants", admin, s.listTenants, "cursor", "limit"),
		s.managed(get, pathTenant, anyCaller, s.getTenant),
		s.managed(put, pathTenant, owner, s.updateTenant),
		s.managed(del, pathTenant, admin, s.deleteTenant),

		s.managed(get, pathTenant+"/audit", owner, s.listAudit, "from", "to", "action", "cursor", "limit"),
		s.managed(get, v1+"/admin/audit/checkpoint", admin, s.auditCheckpoint),
		s.managed(post, pathBackup, admin, s.backup, "since", "recipient"),
		s.managed(post, v1+"/admin/verify", admin, s.verify),
		s.managed(post, v1+"/admin/rebuild", admin, s.rebuild),
		s.managed(get, v1+"/admin/status", admin, s.status),
		s.managed(post, pathPeople, host, s.addMember),
		s.managed(get, pathPeople, host, s.listMembers, "cursor", "limit"),
		s.managed(put, pathPeople+"/:user", host, s.updateMember),
		s.managed(del, pathPeople+"/:user", host, s.removeMember),
		s.managed(get, pathTenant+"/usage", owner, s.usage),

		s.managed(post, pathKeys, owner, s.createKey),
		s.managed(get, pathKeys, owner, s.listKeys, "cursor", "limit"),
		s.managed(del, pathKeys+"/:key", owner, s.deleteKey),
		s.managed(post, pathKeys+"/:key/rotate", owner, s.rotateKey),

		s.managed(post, pathKBs, right(tenancy.PermKBCreate), s.createKB),
		s.managed(get, pathKBs, anyCaller, s.listKBs, "cursor", "limit"),
		s.managed(get, pathKB, right(tenancy.PermKBAccess), s.getKB),
		s.managed(put, pathKB, right(tenancy.PermKBManage), s.updateKB),
		s.managed(del, pathKB, right(tenancy.PermKBDelete), s.deleteKB),
		s.writes(get, pathKB+"/export", tenancy.PermKBManage, s.exportKB),
		s.writes(post, pathKB+"/import", tenancy.PermKBManage, s.importKB, "signer"),
		s.writes(post, pathKB+"/reembed", tenancy.PermKBManage, s.reembed, "dry_run"),
		s.writes(post, pathKB+"/reembed/cancel", tenancy.PermKBManage, s.cancelReembed),

		s.writes(post, pathDocs+"/add", tenancy.PermDocumentCreate, s.addFiles),
		s.writes(post, pathDocs+"/text", tenancy.PermDocumentCreate, s.addText),
		s.writes(post, pathDocs+"/texts", tenancy.PermDocumentCreate, s.addTexts),
		s.writes(post, pathDocs+"/scan", tenancy.PermDocumentCreate, s.scanFolder),
		s.writes(put, pathDoc, tenancy.PermDocumentUpdate, s.updateDocument),
		s.reads(get, pathDocs, tenancy.PermDocumentRead, s.listDocuments, "status", "cursor", "limit"),
		s.reads(get, pathDoc, tenancy.PermDocumentRead, s.getDocument),
		s.reads(get, pathDoc+"/status", tenancy.PermDocumentRead, s.documentStatus),
		s.reads(get, pathDoc+"/chunks", tenancy.PermDocumentRead, s.documentChunks, "cursor", "limit"),
		s.reads(get, pathDoc+"/content", tenancy.PermDocumentRead, s.documentContent),
		s.reads(get, pathDoc+"/original", tenancy.PermDocumentRead, s.documentOriginal),
		s.writes(del, pathDoc, tenancy.PermDocumentDelete, s.deleteDocument, "dry_run"),
		s.writes(post, pathDocs+"/delete", tenancy.PermDocumentDelete, s.deleteDocuments, "dry_run"),

		s.reads(get, pathKB+"/tracks/:track", tenancy.PermDocumentRead, s.getTrack),
		s.reads(get, pathKB+"/status_counts", tenancy.PermDocumentRead, s.statusCounts),
		s.reads(get, pathJobs, tenancy.PermDocumentRead, s.listJobs),
		s.writes(post, pathJobs+"/:doc/retry", tenancy.PermDocumentUpdate, s.retryJob),
		s.writes(post, pathJobs+"/:doc/cancel", tenancy.PermDocumentUpdate, s.cancelJob),

		s.reads(post, pathQuery, tenancy.PermQueryRun, s.query),
		s.reads(post, pathQuery+"/stream", tenancy.PermQueryRun, s.queryStream),
		s.reads(post, pathQuery+"/data", tenancy.PermQueryRun, s.queryData),
		s.reads(post, pathQuery+"/explain", tenancy.PermQueryRun, s.queryExplain),

		s.reads(get, pathGraph, tenancy.PermKBAccess, s.graph, "label", "max_depth", "max_nodes", "filter"),
		s.reads(get, pathGraph+"/labels", tenancy.PermKBAccess, s.graphLabels, "q", "limit", "filter"),
		s.reads(get, pathGraph+"/labels/popular", tenancy.PermKBAccess, s.popularLabels, "limit", "filter"),
		s.reads(get, pathGraph+"/entity", tenancy.PermKBAccess, s.graphEntity, "name", "filter"),
		s.reads(get, pathGraph+"/path", tenancy.PermKBAccess, s.graphPath, "from", "to", "filter"),
		s.reads(post, pathGraph+"/query", tenancy.PermKBAccess, s.graphQuery),
		s.reads(get, pathGraph+"/related", tenancy.PermKBAccess, s.graphRelated, "name", "limit", "filter"),
		s.reads(post, pathGraph+"/communities", tenancy.PermKBAccess, s.makeCommunities),
		s.reads(get, pathGraph+"/communities", tenancy.PermKBAccess, s.communities, "limit", "members"),
		s.reads(get, pathGraph+"/duplicates", tenancy.PermKBAccess, s.duplicates, "limit"),
		s.reads(get, pathGraph+"/aliases", tenancy.PermKBAccess, s.aliases, "cursor", "limit"),

		s.writes(post, pathGraph+"/entity", tenancy.PermDocumentUpdate, s.createEntity),
		s.writes(put, pathGraph+"/entity", tenancy.PermDocumentUpdate, s.editEntity),
		s.writes(del, pathGraph+"/entity", tenancy.PermDocumentUpdate, s.deleteEntity, "name"),
		s.writes(post, pathGraph+"/relation", tenancy.PermDocumentUpdate, s.createRelation),
		s.writes(put, pathGraph+"/relation", tenancy.PermDocumentUpdate, s.editRelation),
		s.writes(del, pathGraph+"/relation", tenancy.PermDocumentUpdate, s.deleteRelation, "source", "target"),
		s.writes(post, pathGraph+"/merge", tenancy.PermDocumentUpdate, s.mergeEntities),
		s.writes(post, pathGraph+"/unmerge", tenancy.PermDocumentUpdate, s.unmergeEntities),
		s.writes(post, pathGraph+"/import", tenancy.PermDocumentCreate, s.importGraph, "format", "id", "file_source"),
		s.reads(get, pathGraph+"/export", tenancy.PermDocumentRead, s.exportGraph, "format", "sources", "filter"),
	}
}
