"""One worker process of a LiteLLM proxy, as far as its spend path goes; run by the Python of a virtual
environment in which LiteLLM is installed (tests/interop/litellm.py starts it).

Reads one JSON command a line, answers one JSON line; the first is "open".  The classes are LiteLLM's own: DBSpendUpdateWriter with
its queues, RedisUpdateBuffer, PodLockManager, RedisCache.  Ours are only the proxy's settings (a module in the
place of litellm.proxy.proxy_server, which would start a whole server) and, where a pod is to write to PostgreSQL
itself, stand_in.py in the place of Prisma's engine.  Every answer has the number of calls into LiteLLM's own
files below proxy/db and caching: a test that was fed by something else fails.
"""
import asyncio
import datetime
import json
import os
import sys
import time
import types

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_LOG", "ERROR")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

OURS = sys.stdout
sys.stdout = sys.stderr  # whatever a library prints is not an answer

calls = {}


def count(frame, event, _):
    if event == "call":
        path = frame.f_code.co_filename
        at = path.find("/litellm/")
        if at >= 0 and ("/proxy/db/" in path or "/caching/redis" in path or "/litellm_logging" in path):
            name = path[at + 9:]
            calls[name] = calls.get(name, 0) + 1


def settings_module(general):
    """The settings of a proxy that runs; nothing else of proxy_server is taken by the spend path."""
    from litellm.caching.dual_cache import DualCache

    module = types.ModuleType("litellm.proxy.proxy_server")
    module.general_settings = general
    module.general_settings_view = lambda: general
    module.disable_spend_logs = True
    module.litellm_proxy_budget_name = "litellm-proxy-budget"
    module.master_key = None
    module.llm_router = None
    module.proxy_logging_obj = None
    module.premium_user = False
    module.user_api_key_cache = DualCache()
    sys.modules["litellm.proxy.proxy_server"] = module
    return module


class Proxy:
    """The part of ProxyLogging that the writer touches."""

    def __init__(self, cache):
        from litellm._service_logger import ServiceLogging

        self.call_details = {"user_api_key_cache": cache}
        self.service_logging_obj = ServiceLogging()
        self.failures = []

    async def failure_handler(self, original_exception, duration, call_type, traceback_str=""):
        self.failures.append(repr(original_exception))


class Pod:
    def __init__(self, options):
        self.settings = settings_module({"use_redis_transaction_buffer": True, **options.get("general_settings", {})})
        from litellm.caching.redis_cache import RedisCache
        from litellm.proxy.db.db_spend_update_writer import DBSpendUpdateWriter
        from litellm.proxy.db.db_transaction_queue.pod_lock_manager import PodLockManager

        import stand_in

        self.redis = RedisCache(**options["redis"])
        self.writer = DBSpendUpdateWriter(redis_cache=self.redis)
        self.writer.pod_lock_manager = PodLockManager(redis_cache=self.redis)
        self.client = stand_in.Client(options.get("database"))
        self.settings.prisma_client = self.client
        self.proxy = self.settings.proxy_logging_obj = Proxy(self.settings.user_api_key_cache)

    # --- traffic ---
    async def request(self, row):
        """One request that has been answered: what proxy_track_cost_callback does with it."""
        import litellm

        start = datetime.datetime.fromisoformat(row["start"])
        end = start + datetime.timedelta(milliseconds=250)
        metadata = {
            "user_api_key": row["key"], "user_api_key_hash": row["key"], "user_api_key_user_id": row["user"], "user_api_key_team_id": row["team"],
            "user_api_key_org_id": row["org"], "user_api_key_end_user_id": row["end_user"],
            "model_group": row["model_group"], "model_info": {"id": "deployment-1"}, "tags": row["tags"],
            "agent_id": row["agent"], "status": row["status"],
        }
        usage = litellm.Usage(prompt_tokens=row["prompt"], completion_tokens=row["completion"],
                              total_tokens=row["prompt"] + row["completion"])
        response = litellm.ModelResponse(id=row["id"], model=row["model"], usage=usage)
        await self.writer.update_database(
            token=row["key"], user_id=row["user"], end_user_id=row["end_user"], team_id=row["team"],
            org_id=row["org"], start_time=start, end_time=end, response_cost=row["cost"],
            completion_response=response,
            kwargs={"call_type": "acompletion", "model": row["model"], "custom_llm_provider": row["provider"],
                    "litellm_call_id": row["id"], "cache_hit": False, "agent_id": row["agent"],
                    "litellm_params": {"metadata": metadata, "agent_id": row["agent"],
                                       "proxy_server_request": {"body": {"user": row["end_user"]}}}})

    async def do_requests(self, rows):
        before = asyncio.all_tasks()
        for n, row in enumerate(rows):
            sys.setprofile(count if n < 2 else None)  # counting each call is slow, and two say it
            await self.request(row)
        # The writer leaves a task behind for each request.
        await asyncio.gather(*(asyncio.all_tasks() - before))
        return len(rows)

    # --- whole requests, through LiteLLM's logging ---
    async def do_watch(self, callback, environment):
        """Registers packaging/litellm/spendd_callback.py, as config.yaml does, and beside it what the proxy registers
        itself: who charges the request."""
        import importlib.util

        import litellm
        from litellm.integrations.custom_logger import CustomLogger

        os.environ.update(environment)
        spec = importlib.util.spec_from_file_location("spendd_callback", callback)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.handler, writer, charged = module.handler, self.writer, self.charged = module.handler, self.writer, []

        class Charge(CustomLogger):
            async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
                metadata = kwargs["litellm_params"]["metadata"]
                cost = kwargs["standard_logging_object"]["response_cost"]
                await writer.update_database(
                    token=metadata["user_api_key"], user_id=metadata["user_api_key_user_id"], end_user_id=None,
                    team_id=metadata["user_api_key_team_id"], org_id=None, kwargs=kwargs, start_time=start_time,
                    end_time=end_time, completion_response=response_obj, response_cost=cost)
                charged.append(cost)

        litellm.callbacks = [self.handler, Charge()]
        return True

    async def do_complete(self, count, key, user, team, failures=0, stream=False):
        """So many calls to a model that answers at once; the seconds that they took together."""
        import litellm

        async def one(number):
            metadata = {"user_api_key": key, "user_api_key_hash": key, "user_api_key_user_id": user,
                        "user_api_key_team_id": team}
            answer = f"answer {number}" if number >= failures else Exception("the provider says no")
            try:
                answered = await litellm.acompletion(
                    model="gpt-4o", mock_response=answer, metadata=metadata, stream=stream,
                    messages=[{"role": "user", "content": f"question {number}"}])
                if stream:
                    assert [part async for part in answered]
            except Exception:
                if number >= failures:
                    raise

        begin = time.monotonic()
        await one(0)
        sys.setprofile(None)
        for start in range(1, count, 50):
            await asyncio.gather(*(one(number) for number in range(start, min(start + 50, count))))
        return time.monotonic() - begin

    async def do_charged(self):
        sender = self.handler.sender
        return {"charged": self.charged, "stats": dict(self.handler.stats()), "idle": sender is not None and sender.idle(),
                "held": sender.queue_bytes + sender.flight_bytes if sender is not None else 0}

    async def do_leave(self):
        """What a proxy does last."""
        self.handler.close()
        return dict(self.handler.stats())

    async def do_windows(self, rows):
        """Increments of budget windows, as the proxy's cost callback queues them."""
        from litellm.proxy.db.db_transaction_queue.window_spend_update_queue import build_window_spend_transaction

        for row in rows:
            times = {name: datetime.datetime.fromisoformat(row[name]) if row[name] else None
                     for name in ("window_start", "started_at")}
            await self.writer.window_spend_update_queue.add_update(build_window_spend_transaction(**{**row, **times}))
        return len(rows)

    # --- the scheduler's jobs ---
    async def do_push(self):
        """The first half of a tick: memory to Redis."""
        writer = self.writer
        queues = dict(
            spend_update_queue=writer.spend_update_queue, daily_spend_update_queue=writer.daily_spend_update_queue,
            daily_team_spend_update_queue=writer.daily_team_spend_update_queue,
            daily_org_spend_update_queue=writer.daily_org_spend_update_queue,
            daily_end_user_spend_update_queue=writer.daily_end_user_spend_update_queue,
            daily_agent_spend_update_queue=writer.daily_agent_spend_update_queue)
        wanted = writer.redis_update_buffer.store_in_memory_spend_updates_in_redis
        names = wanted.__wrapped__.__code__.co_varnames if hasattr(wanted, "__wrapped__") else wanted.__code__.co_varnames
        if "daily_tag_spend_update_queue" in names:  # newer builds push tags in a job of their own
            queues["daily_tag_spend_update_queue"] = writer.daily_tag_spend_update_queue
        if "window_spend_update_queue" in names:
            queues["window_spend_update_queue"] = writer.window_spend_update_queue
        await wanted(**queues)
        await self.push_tags()
        return True

    async def push_tags(self):
        store = getattr(self.writer.redis_update_buffer, "store_in_memory_daily_tag_spend_updates_in_redis", None)
        if store is not None:
            await store(daily_tag_spend_update_queue=self.writer.daily_tag_spend_update_queue)

    async def do_tick(self):
        """A whole tick: push, take the lock if it is free, drain to PostgreSQL, release."""
        await self.writer.db_update_spend_transaction_handler(
            prisma_client=self.client, n_retry_times=3, proxy_logging_obj=self.proxy)
        tags = getattr(self.writer, "commit_daily_tag_spend_to_db_with_redis", None)
        if tags is not None:
            await tags(prisma_client=self.client, n_retry_times=3, proxy_logging_obj=self.proxy)
        return {"failures": self.proxy.failures}

    async def do_cancelled_tick(self):
        """A tick that its scheduler gives up when the lists have been popped and nothing is committed."""
        client, tick = self.redis.init_async_client(), asyncio.ensure_future(self.do_tick())
        while await client.llen("litellm_spend_update_buffer"):
            pass  # the tick goes on while Redis is asked
        tick.cancel()
        await asyncio.gather(tick, return_exceptions=True)
        return True

    async def do_drain(self):
        """Ticks without a pause until no list has an element; how many, and the seconds that they took."""
        from litellm import constants

        lists = [getattr(constants, name) for name in dir(constants)
                 if name.startswith("REDIS_") and name.endswith("SPEND_UPDATE_BUFFER_KEY") or name == "REDIS_UPDATE_BUFFER_KEY"]
        client, ticks, begin = self.redis.init_async_client(), 0, time.monotonic()
        sys.setprofile(None)
        while any([await client.llen(name) for name in lists]):
            await self.do_tick()
            ticks += 1
        return {"ticks": ticks, "seconds": time.monotonic() - begin, "failures": self.proxy.failures}

    async def do_names(self):
        """Lists, fields of the totals and of the days, as this release has them."""
        import typing

        from litellm import constants
        from litellm.proxy import _types

        days = [getattr(_types, name) for name in dir(_types) if name.startswith("Daily") and name.endswith("SpendTransaction")]
        return {"lists": [value for name, value in vars(constants).items()
                          if name.startswith("REDIS_") and name.endswith("BUFFER_KEY") and isinstance(value, str)],
                "totals": list(typing.get_type_hints(_types.DBSpendUpdateTransactions)),
                "days": sorted({field for each in days for field in typing.get_type_hints(each)})}

    async def do_lock(self, job="db_spend_update_job"):
        return bool(await self.writer.pod_lock_manager.acquire_lock(cronjob_id=job))

    async def do_release(self, job="db_spend_update_job"):
        await self.writer.pod_lock_manager.release_lock(cronjob_id=job)
        return True

    async def do_pod_id(self):
        return self.writer.pod_lock_manager.pod_id

    async def do_calls(self):
        return calls


async def main():
    import litellm

    litellm.suppress_debug_info = True
    pod, loop = None, asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            os._exit(0)
        command = json.loads(line)
        name = command.pop("do")
        try:
            if name == "open":  # a new pod in an old process: the import is what takes seconds
                calls.clear()
                pod = Pod(command)
                answer = {"ok": True}
            else:
                sys.setprofile(count)
                answer = {"ok": await getattr(pod, "do_" + name)(**command)}
            answer["ran"] = sum(calls.values())
        except Exception as error:  # the test shall see it
            import traceback

            answer = {"error": repr(error), "trace": traceback.format_exc()}
        sys.setprofile(None)
        print(json.dumps(answer), file=OURS, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
