"""Pods of LiteLLM as far as their shared health checks go: its own SharedHealthCheckManager and RedisCache.  Run by the
Python of a virtual environment in which LiteLLM is installed; one JSON command a line, one JSON answer.

What is ours is only the check itself (perform_health_check), which counts: a pod that checks for itself is found.
"""
import asyncio
import json
import os
import sys

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_LOG", "ERROR")
OURS = sys.stdout
sys.stdout = sys.stderr  # whatever a library prints is not an answer


class Pod:
    def __init__(self, redis, namespace, ttl, lock_ttl):
        from litellm.caching.redis_cache import RedisCache
        from litellm.proxy.health_check_utils import shared_health_check_manager as module

        self.checks = 0

        async def counted(*_, **__):
            self.checks += 1
            return [], [], {}

        self.use = lambda: setattr(module, "perform_health_check", counted)
        cache = RedisCache(**redis, **({"namespace": namespace} if namespace else {}))
        self.manager = module.SharedHealthCheckManager(redis_cache=cache, health_check_ttl=ttl, lock_ttl=lock_ttl)

    async def perform(self):
        self.use()
        healthy, unhealthy = (await self.manager.perform_shared_health_check([{"model_name": "x"}], details=True))[:2]
        return {"healthy": list(healthy), "unhealthy": list(unhealthy), "checks": self.checks}

    async def status(self):
        return await self.manager.get_health_check_status()

    async def acquire(self):
        return await self.manager.acquire_health_check_lock()

    async def release(self):
        await self.manager.release_health_check_lock()

    async def in_progress(self):
        return await self.manager.is_health_check_in_progress()


async def main():
    made, loop = [], asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        words = json.loads(line)
        name = words.pop("do")
        try:
            if name == "open":
                made.append(Pod(**words))
                answer = {"ok": [len(made) - 1, made[-1].manager.pod_id]}
            else:
                answer = {"ok": await getattr(made[words["pod"]], name)()}
        except Exception as fault:  # the test shows it
            answer = {"error": repr(fault), "trace": ""}
        print(json.dumps(answer), file=OURS, flush=True)


asyncio.run(main())
