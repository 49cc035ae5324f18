/*
 * What libsolv's headers have only as struct fields, macros and inline functions, as functions
 * and constants that can be linked to. With this the Rust side mirrors no struct but Queue.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <solv/dataiterator.h>
#include <solv/pool.h>
#include <solv/repo.h>
#include <solv/repo_write.h>
#include <solv/repodata.h>
#include <solv/selection.h>
#include <solv/solvable.h>
#include <solv/solver.h>
#include <solv/solvversion.h>
#include <solv/util.h>

const Id farm_key_name = SOLVABLE_NAME;
const Id farm_key_evr = SOLVABLE_EVR;
const Id farm_key_arch = SOLVABLE_ARCH;
const Id farm_key_checksum = SOLVABLE_CHECKSUM;
const Id farm_key_size = SOLVABLE_DOWNLOADSIZE;
const Id farm_key_source_name = SOLVABLE_SOURCENAME;
const Id farm_key_requires = SOLVABLE_REQUIRES;
const Id farm_key_provides = SOLVABLE_PROVIDES;
const Id farm_key_conflicts = SOLVABLE_CONFLICTS;
const Id farm_key_obsoletes = SOLVABLE_OBSOLETES;
const Id farm_key_media_base = SOLVABLE_MEDIABASE;
const Id farm_marker_prereq = SOLVABLE_PREREQMARKER;

const int farm_disttype_rpm = DISTTYPE_RPM;
const int farm_extend_solvables = REPO_EXTEND_SOLVABLES;
/* With strings of its own: directories do not fill the pool. */
const int farm_extend_apart = REPO_EXTEND_SOLVABLES | REPO_LOCALPOOL;
const int farm_select_files = SELECTION_FILELIST | SELECTION_FLAT;

const int farm_job_install_package = SOLVER_INSTALL | SOLVER_SOLVABLE;
const int farm_job_install_provider = SOLVER_INSTALL | SOLVER_SOLVABLE_PROVIDES;
const int farm_job_forbid_provider = SOLVER_ERASE | SOLVER_SOLVABLE_PROVIDES;
const int farm_select_provider = SOLVER_SOLVABLE_PROVIDES;
const int farm_job_weak = SOLVER_WEAK;
const int farm_job_best = SOLVER_FORCEBEST;

const int farm_flag_ignore_recommended = SOLVER_FLAG_IGNORE_RECOMMENDED;
const int farm_flag_best_obey_policy = SOLVER_FLAG_BEST_OBEY_POLICY;
const int farm_flag_yum_obsoletes = SOLVER_FLAG_YUM_OBSOLETES;
const int farm_flag_urpm_reorder = SOLVER_FLAG_URPM_REORDER;

const int farm_rule_nothing_provides = SOLVER_RULE_PKG_NOTHING_PROVIDES_DEP;
const int farm_rule_requires = SOLVER_RULE_PKG_REQUIRES;
const int farm_rule_conflicts = SOLVER_RULE_PKG_CONFLICTS;
const int farm_rule_self_conflict = SOLVER_RULE_PKG_SELF_CONFLICT;
const int farm_rule_same_name = SOLVER_RULE_PKG_SAME_NAME;
const int farm_rule_job = SOLVER_RULE_JOB;
const int farm_rule_job_nothing_provides = SOLVER_RULE_JOB_NOTHING_PROVIDES_DEP;
const int farm_rule_job_unknown_package = SOLVER_RULE_JOB_UNKNOWN_PACKAGE;

/* The repository of a package, or NULL when there is no such package (any more). */
Repo *farm_repo_of(const Pool *pool, Id id)
{
	if (id <= SYSTEMSOLVABLE || id >= pool->nsolvables)
		return NULL;
	return pool->solvables[id].repo;
}

/* The ids of all packages are below this. */
Id farm_end(const Pool *pool)
{
	return pool->nsolvables;
}

const char *farm_location(Pool *pool, Id id)
{
	return solvable_lookup_location(pool_id2solvable(pool, id), NULL);
}

const char *farm_version(void)
{
	return solv_version;
}

/* Writes what was read last into a repository: an extension of what was read before. */
int farm_write_last(Repo *repo, FILE *fp)
{
	return repodata_write(repo_last_repodata(repo), fp);
}

void farm_set_priority(Repo *repo, int priority, int subpriority)
{
	repo->priority = priority;
	repo->subpriority = subpriority;
}

/* Packages that were read since belong to what is seen. */
void farm_see_new(Pool *pool)
{
	Map *seen = pool->considered;
	int id, known;

	if (!seen || (known = seen->size << 3) >= pool->nsolvables)
		return;
	map_grow(seen, pool->nsolvables);
	for (id = known; id < seen->size << 3; id++)
		MAPSET(seen, id);
}

/* Takes a package out of sight as libdnf does it: what was read of it stays. */
void farm_hide(Pool *pool, Id id)
{
	if (!pool->considered) {
		pool->considered = solv_calloc(1, sizeof(Map));
		map_init(pool->considered, pool->nsolvables);
		map_setall(pool->considered);
	}
	farm_see_new(pool);
	MAPCLR(pool->considered, id);
}

/* The other way. */
void farm_show(Pool *pool, Id id)
{
	if (pool->considered && id >> 3 < pool->considered->size)
		MAPSET(pool->considered, id);
}

/*
 * pool_addfileprovides_queue, safe for repositories of which packages were removed: libsolv (seen in
 * 0.7.23, src/fileprovides.c) makes maps of a bit for each package that a repository has, and sets
 * bits by the place of a package among all that it ever had. Beyond the end of the map that loses
 * files, or writes into memory of others. While it runs, each repository counts all its places.
 */
void farm_add_file_provides(Pool *pool, Queue *paths)
{
	int *counts = solv_calloc(pool->nrepos, sizeof(int));
	Repo *repo;
	int id;

	FOR_REPOS(id, repo) {
		counts[id] = repo->nsolvables;
		if (repo->nsolvables)
			repo->nsolvables = repo->end - repo->start;
	}
	pool_addfileprovides_queue(pool, paths, NULL);
	FOR_REPOS(id, repo)
		repo->nsolvables = counts[id];
	solv_free(counts);
}

/*
 * The paths of a package's files that primary metadata have (those in directories named ...bin, and
 * those below /etc), each with its NUL; solv_free frees them.
 */
char *farm_primary_files(Pool *pool, Id id, int *length)
{
	Dataiterator di;
	char *all = NULL;
	int used = 0;

	dataiterator_init(&di, pool, NULL, id, SOLVABLE_FILELIST, NULL, SEARCH_FILES);
	while (dataiterator_step(&di)) {
		const char *path = repodata_stringify(pool, di.data, di.key, &di.kv, SEARCH_FILES);
		int size;

		if (!path || (!strstr(path, "bin/") && strncmp(path, "/etc/", 5)))
			continue;
		size = strlen(path) + 1;
		all = solv_realloc(all, used + size);
		memcpy(all + used, path, size);
		used += size;
	}
	dataiterator_free(&di);
	*length = used;
	return all;
}

/* All paths in the file list of a package, each with its NUL; solv_free frees them. */
char *farm_files(Pool *pool, Id id, int *length)
{
	Dataiterator di;
	char *all = NULL;
	int used = 0, space = 0;

	dataiterator_init(&di, pool, NULL, id, SOLVABLE_FILELIST, NULL, SEARCH_FILES);
	while (dataiterator_step(&di)) {
		const char *path = repodata_stringify(pool, di.data, di.key, &di.kv, SEARCH_FILES);
		int size;

		if (!path)
			continue;
		size = strlen(path) + 1;
		if (used > (1 << 30) - size)
			break;
		if (used + size > space) {
			space = 2 * (used + size);
			all = solv_realloc(all, space);
		}
		memcpy(all + used, path, size);
		used += size;
	}
	dataiterator_free(&di);
	*length = used;
	return all;
}

/* FNV-1a of 64 bits, continued over a text. */
static uint64_t hash_on(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3ULL;
	return hash;
}

/* The hashes of the directories of one file list, as far as they are known; 0 for the others. */
struct dir_hashes {
	Repodata *data;
	uint64_t *known;
};

/*
 * The hash of a directory's path. Each directory is computed once, so that a file costs only its
 * name: there are millions of files, and thousands of directories.
 */
static uint64_t dir_hash(Pool *pool, struct dir_hashes *dirs, Id dir)
{
	Repodata *data = dirs->data;
	uint64_t hash = 0xcbf29ce484222325ULL;
	Id parent;

	if (!dir || dir >= data->dirpool.ndirs)
		return hash;
	if (dirs->known[dir])
		return dirs->known[dir];
	parent = dirpool_parent(&data->dirpool, dir);
	if (parent)
		hash = hash_on(dir_hash(pool, dirs, parent), "/");
	hash = hash_on(hash, stringpool_id2str(data->localpool ? &data->spool : &pool->ss,
					       dirpool_compid(&data->dirpool, dir)));
	dirs->known[dir] = hash;
	return hash;
}

static int compare_hashes(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

/*
 * Which of these visible packages have a file whose path has one of these hashes, which are sorted:
 * the package and the place of the hash, for each.
 */
void farm_find_files(Pool *pool, const Id *ids, int count, const uint64_t *wanted, int hashes, Queue *found)
{
	struct dir_hashes *all = NULL, *dirs = NULL;
	/* Most files are told to be others by one bit. */
	const int bits = 22;
	unsigned char *perhaps = solv_calloc(1 << (bits - 3), 1);
	int i, lists = 0;

	for (i = 0; i < hashes; i++)
		perhaps[(wanted[i] & ((1 << bits) - 1)) >> 3] |= 1 << (wanted[i] & 7);
	for (i = 0; i < count; i++) {
		Dataiterator di;

		if (ids[i] <= SYSTEMSOLVABLE || ids[i] >= pool->nsolvables || !pool->solvables[ids[i]].repo)
			continue;
		if (pool->considered && ids[i] >> 3 < pool->considered->size && !MAPTST(pool->considered, ids[i]))
			continue;
		dataiterator_init(&di, pool, NULL, ids[i], SOLVABLE_FILELIST, NULL, 0);
		while (dataiterator_step(&di)) {
			const uint64_t *hit;
			uint64_t hash;
			int known;

			if (!dirs || dirs->data != di.data) {
				for (known = 0; known < lists && all[known].data != di.data; known++)
					;
				if (known == lists) {
					all = solv_realloc(all, (lists + 1) * sizeof(*all));
					all[lists].data = di.data;
					all[lists++].known = solv_calloc(di.data->dirpool.ndirs + 1, sizeof(uint64_t));
				}
				dirs = all + known;
			}
			hash = hash_on(hash_on(dir_hash(pool, dirs, di.kv.id), "/"), di.kv.str);
			if (!(perhaps[(hash & ((1 << bits) - 1)) >> 3] & 1 << (hash & 7)))
				continue;
			hit = bsearch(&hash, wanted, hashes, sizeof(hash), compare_hashes);
			if (hit)
				queue_push2(found, ids[i], hit - wanted);
		}
		dataiterator_free(&di);
	}
	for (i = 0; i < lists; i++)
		solv_free(all[i].known);
	solv_free(all);
	solv_free(perhaps);
}

/* Whether the name and version of a package match a dependency. */
int farm_matches(Pool *pool, Id id, Id dep)
{
	return pool_match_nevr(pool, pool->solvables + id, dep) != 0;
}

/* libsolv leaves the map to whoever made it. */
void farm_free_seen(Pool *pool)
{
	if (pool->considered)
		map_free(pool->considered);
	pool->considered = solv_free(pool->considered);
}

int farm_count(const Repo *repo)
{
	return repo->nsolvables;
}
